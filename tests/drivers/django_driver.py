"""Django's PostgreSQL backend through Primacy: its connections alone; migrations, the ORM, transactions and server-side cursors; reads alone."""
import sys
import tempfile
from pathlib import Path
from urllib.parse import urlsplit

import django
from django.conf import settings
from django.core.management import call_command

dsn, what = urlsplit(sys.argv[1]), sys.argv[2]
migrations = tempfile.TemporaryDirectory()
sys.path[:0] = [migrations.name, str(Path(__file__).parent)]
Path(migrations.name, "library_migrations").mkdir()
Path(migrations.name, "library_migrations", "__init__.py").touch()
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
            "CONN_HEALTH_CHECKS": True,
        }
    },
    INSTALLED_APPS=["django.contrib.contenttypes", "django.contrib.auth", "library"],
    MIGRATION_MODULES={"library": "library_migrations"},
    DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
    USE_TZ=True,
    TIME_ZONE="Europe/Berlin",
)
django.setup()

from django.contrib.auth.models import Permission, User  # noqa: E402
from django.db import IntegrityError, connection, transaction  # noqa: E402
from django.db.models import Count, F, Prefetch, Q  # noqa: E402
from django.utils import timezone  # noqa: E402
from library.models import Author, Book, Tag  # noqa: E402


def migrate():
    call_command("makemigrations", "library", verbosity=0)
    call_command("migrate", verbosity=0)
    call_command("makemigrations", "library", check=True, verbosity=0)  # the model is what the database has
    with connection.cursor() as cursor:
        tables = connection.introspection.table_names(cursor)
    assert {"library_author", "library_book", "library_book_tags", "django_migrations"} <= set(tables), tables
    assert Permission.objects.filter(content_type__app_label="library").count() == 12


def whole():
    migrate()
    authors = [Author.objects.create(name=f"a{n}") for n in range(10)]
    Book.objects.bulk_create(Book(title=f"b{n}.{k}", author=author) for n, author in enumerate(authors) for k in range(30))
    assert Book.objects.count() == 300
    tags = [Tag.objects.get_or_create(word=word)[0] for word in ("red", "blue", "red")]
    assert tags[0] == tags[2]
    for book in Book.objects.filter(title__startswith="b1."):
        book.tags.add(*tags)
    assert Book.objects.filter(tags__word="red").count() == 30
    book = Book.objects.select_related("author").get(title="b2.7")
    book.pages = 12
    book.printed = timezone.now()
    book.data = {"a": [1, None, "x"]}
    book.save()
    book.refresh_from_db()
    assert (book.pages, book.data, book.author.name) == (12, {"a": [1, None, "x"]}, "a2")
    assert Book.objects.filter(data__a__2="x").exists()
    assert Book.objects.filter(author__name="a3").update(pages=F("pages") + 5) == 30
    assert Book.objects.update_or_create(title="b4.1", defaults={"pages": 77})[1] is False
    counted = Author.objects.annotate(n=Count("books", filter=Q(books__pages__gt=0))).order_by("name").values_list("n", flat=True)
    assert list(counted) == [0, 0, 1, 30, 1, 0, 0, 0, 0, 0]
    fetched = Author.objects.prefetch_related(Prefetch("books", Book.objects.order_by("title"), to_attr="sorted"))
    assert [len(author.sorted) for author in fetched] == [30] * 10
    authors[9].delete()
    assert Book.objects.count() == 270
    with transaction.atomic():
        Author.objects.create(name="outer")
        try:
            with transaction.atomic():
                Author.objects.create(name="inner")
                Author.objects.create(name="outer")
        except IntegrityError:
            pass
        assert not Author.objects.filter(name="inner").exists()
        locked = Author.objects.select_for_update().get(name="outer")
        locked.name = "locked"
        locked.save(update_fields=["name"])
        done = []
        transaction.on_commit(lambda: done.append(Author.objects.get(name="locked").name))
    assert done == ["locked"]
    try:
        with transaction.atomic():
            Book.objects.all().delete()
            raise KeyError
    except KeyError:
        assert Book.objects.count() == 270
    ids = list(Book.objects.order_by("id").values_list("id", flat=True))
    # A server-side cursor: WITH HOLD in autocommit, a plain one in a transaction.
    assert [book.id for book in Book.objects.order_by("id").iterator(chunk_size=50)] == ids
    with transaction.atomic():
        assert [book.id for book in Book.objects.order_by("id").iterator(chunk_size=50)] == ids
    user = User.objects.create_user("u", password="p")
    user.user_permissions.add(Permission.objects.get(codename="add_book"))
    assert User.objects.get(username="u").has_perm("library.add_book")
    for _ in range(3):
        connection.close()
        assert Author.objects.filter(name="a1").exists()


def reads():
    for n in range(400):
        match n % 4:
            case 0:
                assert Book.objects.get(title=f"b1.{n % 30}").author_id
            case 1:
                assert Book.objects.filter(author__name="a2").count() == 30
            case 2:
                assert len(Author.objects.annotate(n=Count("books")).order_by("-n")[:5]) == 5
            case _:
                assert [tag.word for tag in Book.objects.get(title="b1.3").tags.order_by("word")] == ["blue", "red"]


def release():
    for _ in range(5):
        with connection.cursor() as cursor:
            cursor.execute("SELECT %s::int + 1", [1])
            assert cursor.fetchone() == (2,)
        connection.close_if_unusable_or_obsolete()
        connection.close()
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")


{"whole": whole, "reads": reads, "release": release}[what]()
sys.stdout.write("ok")
sys.stdout.flush()
sys.stdin.read()  # the connection stays; the proxy is asked meanwhile
