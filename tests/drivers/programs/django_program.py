"""Django over psycopg: its migrations, its objects, transactions, server-side cursors, persistent connections."""

from __future__ import annotations

import datetime as dt
import decimal
import threading
from typing import Any

import django
from django.conf import settings

from tests.drivers.programs.transcript import DATABASE, HOST, PASSWORD, PORT, SCHEMA, USER, main, part, say


def database(**more: Any) -> dict[str, Any]:
    return {
        "ENGINE": "django.db.backends.postgresql", "HOST": HOST, "PORT": PORT, "USER": USER, "PASSWORD": PASSWORD,
        "NAME": DATABASE, **more, "OPTIONS": {"options": f"-c search_path={SCHEMA}", **more.get("OPTIONS", {})},
    }  # fmt: skip


settings.configure(
    DATABASES={
        "default": database(CONN_MAX_AGE=None, CONN_HEALTH_CHECKS=True),
        "each_time": database(CONN_MAX_AGE=0),
        "without_cursors": database(DISABLE_SERVER_SIDE_CURSORS=True),
        "bound_by_server": database(OPTIONS={"server_side_binding": True}),
        "pooled": database(CONN_MAX_AGE=0, OPTIONS={"pool": {"min_size": 1, "max_size": 3, "timeout": 60}}),
    },
    INSTALLED_APPS=["django.contrib.contenttypes", "django.contrib.auth"],
    USE_TZ=True,
    DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
)


django.setup()

from django.contrib.auth.models import Group, Permission, User  # noqa: E402
from django.contrib.contenttypes.models import ContentType  # noqa: E402
from django.core.management import call_command  # noqa: E402
from django.db import DatabaseError, connections, migrations, models, transaction  # noqa: E402
from django.db.migrations.executor import MigrationExecutor  # noqa: E402
from django.db.migrations.state import ProjectState  # noqa: E402
from django.db.models import Avg, Count, F, Max, Q, Sum  # noqa: E402


class Item(models.Model):
    """A row with most kinds of fields."""

    name = models.CharField(max_length=40, unique=True)
    price = models.DecimalField(max_digits=8, decimal_places=2)
    made = models.DateTimeField(null=True)
    facts = models.JSONField(default=dict)
    data = models.BinaryField(default=b"")
    spent = models.DurationField(null=True)

    class Meta:
        app_label = "shop"


@part
def migrating() -> None:
    """The framework's own migrations, and a few by hand, forth and back."""
    call_command("migrate", verbosity=0, interactive=False)
    executor = MigrationExecutor(connections["default"])
    say(sorted(name for _, name in executor.loader.applied_migrations)[-4:], len(executor.loader.applied_migrations))
    say(sorted(connections["default"].introspection.table_names()))
    say(ContentType.objects.count(), Permission.objects.count())
    states = [ProjectState()]
    for number, operations in enumerate((
        [migrations.CreateModel("Moved", [("id", models.BigAutoField(primary_key=True)), ("a", models.IntegerField())])],
        [migrations.AddField("Moved", "b", models.CharField(max_length=9, default="x", db_index=True))],
        [migrations.RenameField("Moved", "b", "c"), migrations.AlterField("Moved", "c", models.TextField(null=True))],
        [migrations.AddConstraint("Moved", models.CheckConstraint(condition=Q(a__gt=0), name="positive"))],
        [migrations.RunSQL("INSERT INTO shop_moved (a) SELECT 1/0")],
        [migrations.RemoveField("Moved", "c")],
    )):  # fmt: skip
        migration = migrations.Migration(f"step_{number}", "shop")
        migration.operations = operations
        try:
            with connections["default"].schema_editor(atomic=True) as editor:
                states.append(migration.apply(states[-1].clone(), editor))
        except DatabaseError as error:
            say(number, type(error).__name__, str(error))
        with connections["default"].cursor() as cursor:
            description = connections["default"].introspection.get_table_description(cursor, "shop_moved")
            say(number, [(column.name, column.null_ok) for column in description])
    with connections["default"].schema_editor() as editor:
        editor.execute("DROP TABLE shop_moved")
        editor.create_model(Item)
    connections.close_all()


def objects(using: str) -> None:
    items = Item.objects.using(using)
    items.all().delete()
    items.bulk_create(
        Item(name=f"item {n}", price=decimal.Decimal(n) / 2, made=dt.datetime(2020, 1, 1 + n % 28, tzinfo=dt.UTC),
             facts={"n": n, "tags": ["ä", None]}, data=bytes([n % 256, 0]), spent=dt.timedelta(hours=n))
        for n in range(400)
    )  # fmt: skip
    say(using, items.filter(price__gt=150).count(), items.aggregate(Sum("price"), Avg("price"), Max("made")))
    say(list(items.filter(facts__n__lt=3).order_by("name").values_list("name", "price", "facts", "spent")))
    say(bytes(items.get(name="item 7").data), items.filter(name__icontains="M 39").count())
    items.filter(name="item 1").update(price=F("price") + 1)
    say(items.get(name="item 1").price, items.get_or_create(name="item 2", defaults={"price": 1})[1])
    say(sum(len(item.name) for item in items.order_by("pk").iterator(chunk_size=50)))  # a server-side cursor
    say([row["total"] for row in items.values("made").annotate(total=Count("*")).order_by("made")[:5]])
    try:
        with transaction.atomic(using):
            items.create(name="outer", price=1)
            try:
                with transaction.atomic(using):
                    items.create(name="inner", price=1)
                    items.create(name="item 3", price=1)
            except DatabaseError as error:
                say(type(error).__name__, str(error))
            say(items.filter(name__in=["outer", "inner"]).count())
            items.select_for_update().get(name="item 5")
            raise ValueError("undo")
    except ValueError:
        say(items.filter(name="outer").count())
    say(items.filter(name="item 4").explain().split("(")[0][:8] != "")
    called: list[str] = []
    with transaction.atomic(using):
        transaction.on_commit(lambda: called.append("committed"), using=using)
    say(called)
    connections[using].close()


@part
def querying() -> None:
    with connections["default"].schema_editor() as editor:
        if "shop_item" not in connections["default"].introspection.table_names():
            editor.create_model(Item)
    for using in ("default", "each_time", "without_cursors", "bound_by_server", "pooled"):
        objects(using)
    connections["pooled"].close_pool()
    connections.close_all()


@part
def users_in_threads() -> None:
    """As many threads as a small server has, each with a persistent connection of its own."""

    def work(number: int) -> None:
        try:
            for turn in range(5):
                user = User.objects.create(username=f"user {number} {turn}")
                user.groups.add(Group.objects.get_or_create(name=f"group {number}")[0])
                assert User.objects.filter(groups__name=f"group {number}").count() == turn + 1
                connections["default"].close_if_unusable_or_obsolete()
        finally:
            connections.close_all()

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    say(User.objects.count(), Group.objects.annotate(n=Count("user")).filter(n=5).count())
    say(list(User.objects.order_by("username").values_list("username", flat=True))[:3])
    connections.close_all()


main()
