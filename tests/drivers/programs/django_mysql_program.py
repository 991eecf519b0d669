"""Django over PyMySQL, in mysqlclient's place: its migrations, its objects, transactions, persistent connections."""

from __future__ import annotations

import datetime as dt
import decimal
import threading
from typing import Any

import django
import pymysql
from django.conf import settings

from tests.drivers.programs.transcript import HOST, PASSWORD, PORT, SCHEMA, USER, main, part, say

pymysql.install_as_MySQLdb()


def database(**more: Any) -> dict[str, Any]:
    return {
        "ENGINE": "django.db.backends.mysql", "HOST": HOST, "PORT": PORT, "USER": USER, "PASSWORD": PASSWORD, "NAME": SCHEMA,
        **more,
    }  # fmt: skip


settings.configure(
    DATABASES={
        "default": database(CONN_MAX_AGE=None, CONN_HEALTH_CHECKS=True),
        "each_time": database(CONN_MAX_AGE=0),
        "strict": database(OPTIONS={"sql_mode": "STRICT_ALL_TABLES", "isolation_level": "repeatable read"}),
    },
    INSTALLED_APPS=["django.contrib.contenttypes", "django.contrib.auth"],
    USE_TZ=True,
    DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
    SILENCED_SYSTEM_CHECKS=["mysql.W002"],
)

django.setup()

from django.contrib.auth.models import Group, Permission, User  # noqa: E402
from django.contrib.contenttypes.models import ContentType  # noqa: E402
from django.core.management import call_command  # noqa: E402
from django.db import DatabaseError, connections, models, transaction  # noqa: E402
from django.db.migrations.executor import MigrationExecutor  # noqa: E402
from django.db.models import Avg, Count, F, Max, Sum  # noqa: E402


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
    call_command("migrate", verbosity=0, interactive=False)
    executor = MigrationExecutor(connections["default"])
    say(sorted(name for _, name in executor.loader.applied_migrations)[-4:], len(executor.loader.applied_migrations))
    say(sorted(connections["default"].introspection.table_names()))
    say(ContentType.objects.count(), Permission.objects.count())
    with connections["default"].schema_editor() as editor:
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
    say(sum(len(item.name) for item in items.order_by("pk").iterator(chunk_size=50)))
    say([row["total"] for row in items.values("made").annotate(total=Count("*")).order_by("made")[:5]])
    try:
        with transaction.atomic(using):
            items.create(name="outer", price=1)
            try:
                with transaction.atomic(using):
                    items.create(name="inner", price=1)
                    items.create(name="item 3", price=1)
            except DatabaseError as error:
                say(type(error).__name__, error.args[0])
            say(items.filter(name__in=["outer", "inner"]).count())
            items.select_for_update().get(name="item 5")
            raise ValueError("undo")
    except ValueError:
        say(items.filter(name="outer").count())
    called: list[str] = []
    with transaction.atomic(using):
        transaction.on_commit(lambda: called.append("committed"), using=using)
    say(called)
    connections[using].close()


@part
def querying() -> None:
    for using in ("default", "each_time", "strict"):
        objects(using)
    connections.close_all()


@part
def users_in_threads() -> None:
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
