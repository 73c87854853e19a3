"""What the workflows ask for; each is safe to run twice."""
