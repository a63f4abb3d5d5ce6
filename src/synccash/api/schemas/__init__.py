"""The schemas of requests and answers; `openapi/docs.py` builds the OpenAPI document from these types."""
