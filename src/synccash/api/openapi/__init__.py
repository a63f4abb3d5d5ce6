"""The OpenAPI document: generated from the handlers, and shown at `/docs`."""
