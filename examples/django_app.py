"""An idempotent endpoint in Django, which has to run under an ASGI server.

pip install synccash django uvicorn
uvicorn --app-dir examples django_app:app
"""

import json

import django
from django.conf import settings
from django.core.asgi import get_asgi_application
from django.http import HttpRequest, JsonResponse
from django.urls import path
from django.views.decorators.csrf import csrf_exempt

from synccash.middleware import Endpoint, MemoryClaims, ResilienceMiddleware, one_tenant

settings.configure(ROOT_URLCONF=__name__, ALLOWED_HOSTS=["*"], SECRET_KEY="of the example")  # noqa: S106
django.setup()

orders: list[int] = []


@csrf_exempt
def order(request: HttpRequest) -> JsonResponse:
    """Take an order."""
    orders.append(json.loads(request.body)["item"])
    return JsonResponse({"order": len(orders)}, status=201)


urlpatterns = [path("orders", order)]

# In a project, this is its asgi.py.
app = ResilienceMiddleware(
    get_asgi_application(),
    endpoints=[Endpoint("POST", "/orders", "order", idempotent="required")],
    identify=one_tenant("shop"),
    claims=MemoryClaims(),
)
