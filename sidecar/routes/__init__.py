"""`routes.yaml`: what it may say, what it decides, and what is wrong with it."""
