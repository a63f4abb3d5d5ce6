"""The operators' web console under `/console`: pages that are rendered on the server and call the management
API in the same process as the operator who is signed in."""
