# One image for the API, the worker and the migration step.
FROM python:3.12.12-slim-bookworm

ENV PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /app

# First the packages: they change less often than the code, so this layer is usually there already.
COPY requirements/runtime.lock requirements/
RUN pip install --require-hashes -r requirements/runtime.lock

# An editable install keeps the portal's templates and the migrations beside the code that reads them. It is compiled
# once, here: who runs it may write nothing, and would compile it again at every start, which takes seconds.
COPY . .
RUN pip install --no-deps --no-build-isolation -e . && python -m compileall -q . \
    && useradd --system --uid 10001 --create-home interlock

USER interlock
ENV INTERLOCK_HOST=0.0.0.0 INTERLOCK_PORT=8080 INTERLOCK_DATA_DIR=/home/interlock
EXPOSE 8080
CMD ["interlock", "api"]
