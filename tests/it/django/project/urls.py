"""Everything more than once: /knox/ is authenticated by knox's class, /tokenward/ by the example's,
/knox_redis/ by that of django-rest-knox-redis. The last two where their packages are there."""

from django.conf import settings
from django.contrib import admin
from django.urls import path
from knox import views
from knox.auth import TokenAuthentication
from rest_framework.authentication import BasicAuthentication
from rest_framework.permissions import IsAuthenticated
from rest_framework.response import Response
from rest_framework.views import APIView

from .rows import token_row


class WhoAmI(APIView):
    """What a view sees of the caller; `last_name` and `is_active` are no attributes that tokenward tells."""

    permission_classes = (IsAuthenticated,)

    def get(self, request):
        user, auth = request.user, request.auth
        names = {name: getattr(user, name) for name in ("username", "email", "last_name", "is_active")}
        owner = {"user": str(auth.user.pk), "same": auth.user == user, "class": type(auth).__name__}
        return Response({"pk": str(user.pk), "user": names, "auth": token_row(auth), "owner": owner})


class Ping(APIView):
    """A view that asks nothing more of the caller than who it is."""

    permission_classes = (IsAuthenticated,)

    def get(self, request):
        return Response({"pk": str(request.user.pk)})


def authenticated_by(prefix, authentication, views=views):
    classes = {"authentication_classes": (authentication,)}
    return [
        path(f"{prefix}/whoami/", WhoAmI.as_view(**classes)),
        path(f"{prefix}/ping/", Ping.as_view(**classes)),
        path(f"{prefix}/logout/", views.LogoutView.as_view(**classes)),
        path(f"{prefix}/logoutall/", views.LogoutAllView.as_view(**classes)),
    ]


urlpatterns = [
    path("login/", views.LoginView.as_view(authentication_classes=(BasicAuthentication,))),
    *authenticated_by("knox", TokenAuthentication),
]

try:
    from tokenward_django.authentication import TokenwardAuthentication
except ImportError:  # knox 4.2 lacks what the example needs.
    pass
else:
    urlpatterns += authenticated_by("tokenward", TokenwardAuthentication)

if "knox_redis" in settings.INSTALLED_APPS:
    import knox_redis.auth
    import knox_redis.views

    urlpatterns += authenticated_by("knox_redis", knox_redis.auth.TokenAuthentication, knox_redis.views)

if "django.contrib.admin" in settings.INSTALLED_APPS:
    urlpatterns += [path("admin/", admin.site.urls)]
