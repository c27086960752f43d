"""A site of Django's with accounts, sessions and the admin, its pages asked for as a browser does, in autocommit.

With 0 rounds: its tables, its data, and every page once. The parameters are bound by the client or by the server, as asked."""
import sys
from pathlib import Path
from urllib.parse import urlsplit

import django
from django.conf import settings
from django.core.management import call_command

dsn, binding, rounds = urlsplit(sys.argv[1]), sys.argv[2], int(sys.argv[3])
sys.path.insert(0, str(Path(__file__).parent))
settings.configure(
    DATABASES={
        "default": {
            "ENGINE": "django.db.backends.postgresql",
            "NAME": dsn.path[1:],
            "USER": dsn.username,
            "PASSWORD": dsn.password,
            "HOST": dsn.hostname,
            "PORT": dsn.port,
            "CONN_MAX_AGE": None,
            "OPTIONS": {"server_side_binding": binding == "server"},
        }
    },
    INSTALLED_APPS=[
        "django.contrib.admin",
        "django.contrib.auth",
        "django.contrib.contenttypes",
        "django.contrib.sessions",
        "django.contrib.messages",
        "library",
    ],
    MIDDLEWARE=[
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
        "django.contrib.messages.middleware.MessageMiddleware",
    ],
    TEMPLATES=[
        {
            "BACKEND": "django.template.backends.django.DjangoTemplates",
            "APP_DIRS": True,
            "OPTIONS": {
                "context_processors": [
                    "django.template.context_processors.request",
                    "django.contrib.auth.context_processors.auth",
                    "django.contrib.messages.context_processors.messages",
                ]
            },
        }
    ],
    MIGRATION_MODULES={"library": None},
    PASSWORD_HASHERS=["django.contrib.auth.hashers.MD5PasswordHasher"],
    DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
    ALLOWED_HOSTS=["testserver"],
    ROOT_URLCONF=__name__,
    SECRET_KEY="of a test",
    STATIC_URL="/static/",
    USE_TZ=True,
)
django.setup()

from django.contrib import admin  # noqa: E402
from django.contrib.auth.models import Group, Permission, User  # noqa: E402
from django.db import connection  # noqa: E402
from django.db.models import Avg, Count, Exists, F, Max, OuterRef, Q, Subquery, Window  # noqa: E402
from django.db.models.functions import Coalesce, Lower, RowNumber, TruncDay  # noqa: E402
from django.test import Client  # noqa: E402
from django.urls import path  # noqa: E402
from django.utils import timezone  # noqa: E402
from library.models import Author, Book, Tag  # noqa: E402


@admin.register(Book)
class BookAdmin(admin.ModelAdmin):
    list_display = ["title", "author", "pages", "printed"]
    list_filter = ["author", "tags"]
    list_select_related = ["author"]
    search_fields = ["title", "author__name"]
    date_hierarchy = "printed"
    filter_horizontal = ["tags"]


admin.site.register([Author, Tag])
urlpatterns = [path("admin/", admin.site.urls)]


def prepare():
    call_command("migrate", run_syncdb=True, verbosity=0)
    User.objects.create_superuser("root", password="p")
    group = Group.objects.create(name="readers")
    group.permissions.set(Permission.objects.filter(codename__startswith="view_"))
    user = User.objects.create_user("reader", password="p", is_staff=True)
    user.groups.add(group)
    authors = Author.objects.bulk_create([Author(name=f"a{n}") for n in range(20)])
    tags = Tag.objects.bulk_create([Tag(word=f"t{n}") for n in range(5)])
    for n in range(200):
        book = Book.objects.create(title=f"b{n}", author=authors[n % 20], pages=n, printed=timezone.now(), data={"n": n})
        book.tags.add(tags[n % 5])


def pages(client):
    def get(url, **query):
        answer = client.get(f"/admin/{url}", query)
        assert answer.status_code == 200, (url, answer.status_code, getattr(answer, "url", None))

    get("")
    get("library/book/")
    get("library/book/", q="b1", author__id__exact=Author.objects.first().pk)
    get("library/book/", printed__year=timezone.now().year, o="2.-1")
    get("library/book/", tags__id__exact=Tag.objects.first().pk, p=1)
    book = Book.objects.order_by("?").first()
    get(f"library/book/{book.pk}/change/")
    get(f"library/book/{book.pk}/history/")
    get(f"library/book/{book.pk}/delete/")
    get("library/book/add/")
    get("library/author/")
    get("auth/user/", q="read", is_staff__exact=1)
    get(f"auth/user/{User.objects.get(username='reader').pk}/change/")
    get("auth/group/")
    get(f"auth/group/{Group.objects.get(name='readers').pk}/change/")


def views():
    reader = User.objects.select_related().prefetch_related("groups__permissions").get(username="reader")
    assert reader.has_perm("library.view_book") and not reader.has_perm("library.add_book")
    assert len(Book.objects.filter(Q(title__icontains="1") | Q(author__name__istartswith="A1")).select_related("author")[:20]) == 20
    assert Book.objects.filter(tags__word__in=["t1", "t2"]).distinct().count() == 80
    assert Author.objects.annotate(n=Count("books"), most=Max("books__pages")).filter(n__gt=3).order_by("-most")[0].n == 10
    assert Author.objects.filter(Exists(Book.objects.filter(author=OuterRef("pk"), pages__gte=199))).count() == 1
    last = Book.objects.filter(author=OuterRef("pk")).order_by("-pages").values("title")[:1]
    assert Author.objects.annotate(last=Subquery(last)).get(name="a3").last == "b183"
    assert Book.objects.aggregate(mean=Coalesce(Avg("pages"), 0.0))["mean"] > 90
    assert Book.objects.annotate(day=TruncDay("printed")).values("day").annotate(n=Count("pk")).count() >= 1
    ranked = Book.objects.annotate(place=Window(RowNumber(), partition_by=F("author"), order_by=F("pages").desc()))
    assert len(ranked.filter(author__name=Lower("author__name"))[:5]) == 5
    assert Book.objects.filter(data__n__gt=150, title__regex=r"^b\d+$").exists()
    assert Book.objects.in_bulk([Book.objects.first().pk])
    assert list(Book.objects.values_list("title", flat=True).union(Tag.objects.values_list("word", flat=True)))
    assert Book.objects.dates("printed", "year").count() == 1
    assert "library_book" in connection.introspection.table_names()


if rounds == 0:
    prepare()
client = Client()
assert client.login(username="root", password="p")
for _ in range(max(rounds, 1)):
    pages(client)
    views()
sys.stdout.write("ok")
sys.stdout.flush()
sys.stdin.read()  # the connection stays; the proxy is asked meanwhile
