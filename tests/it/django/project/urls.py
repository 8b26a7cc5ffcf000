"""Everything twice: /knox/ is authenticated by knox's class, /tokenward/ by the example's."""

from django.urls import path
from knox import views
from knox.auth import TokenAuthentication
from rest_framework.authentication import BasicAuthentication
from rest_framework.permissions import IsAuthenticated
from rest_framework.response import Response
from rest_framework.views import APIView

from tokenward_django.authentication import TokenwardAuthentication

from .rows import token_row


class WhoAmI(APIView):
    """What a view sees of the caller; `last_name` and `is_active` are no attributes that tokenward tells."""

    permission_classes = (IsAuthenticated,)

    def get(self, request):
        user, auth = request.user, request.auth
        names = {name: getattr(user, name) for name in ("username", "email", "last_name", "is_active")}
        owner = {"user": str(auth.user.pk), "same": auth.user == user, "class": type(auth).__name__}
        return Response({"pk": str(user.pk), "user": names, "auth": token_row(auth), "owner": owner})


def authenticated_by(prefix, authentication):
    classes = {"authentication_classes": (authentication,)}
    return [
        path(f"{prefix}/whoami/", WhoAmI.as_view(**classes)),
        path(f"{prefix}/logout/", views.LogoutView.as_view(**classes)),
        path(f"{prefix}/logoutall/", views.LogoutAllView.as_view(**classes)),
    ]


urlpatterns = [
    path("login/", views.LoginView.as_view(authentication_classes=(BasicAuthentication,))),
    *authenticated_by("knox", TokenAuthentication),
    *authenticated_by("tokenward", TokenwardAuthentication),
]
