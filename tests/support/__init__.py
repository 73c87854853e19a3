"""What tests stand on. Its assertions, too, say what they compared."""

import pytest

pytest.register_assert_rewrite(__name__)
