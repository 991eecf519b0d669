"""SQLAlchemy over PyMySQL, mysql-connector-python and aiomysql, and alembic: schema, mapped classes, pools, migrations."""

from __future__ import annotations

import asyncio
import datetime as dt
import decimal
import warnings
from typing import Any

import sqlalchemy as sa
from alembic.migration import MigrationContext
from alembic.operations import Operations
from sqlalchemy import orm
from sqlalchemy.dialects.mysql import insert
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine

from tests.drivers.programs.transcript import HOST, PASSWORD, PORT, SCHEMA, USER, main, part, say

warnings.simplefilter("ignore", ResourceWarning)  # aiomysql closes with a transport that Python then finds unclosed
warnings.simplefilter("ignore", DeprecationWarning)  # SQLAlchemy asks the connector in ways that it does not like


class Base(orm.DeclarativeBase):
    pass


class Author(Base):
    __tablename__ = "author"
    id: orm.Mapped[int] = orm.mapped_column(primary_key=True)
    name: orm.Mapped[str] = orm.mapped_column(sa.String(50), unique=True)
    books: orm.Mapped[list[Book]] = orm.relationship(back_populates="author", cascade="all, delete-orphan")


class Book(Base):
    __tablename__ = "book"
    id: orm.Mapped[int] = orm.mapped_column(primary_key=True)
    title: orm.Mapped[str] = orm.mapped_column(sa.String(200))
    price: orm.Mapped[decimal.Decimal] = orm.mapped_column(sa.Numeric(8, 2))
    born: orm.Mapped[dt.datetime]
    more: orm.Mapped[dict[str, Any]] = orm.mapped_column(sa.JSON)
    kind: orm.Mapped[str] = orm.mapped_column(sa.Enum("paper", "file"))
    author_id: orm.Mapped[int] = orm.mapped_column(sa.ForeignKey("author.id"))
    author: orm.Mapped[Author] = orm.relationship(back_populates="books")


def url(driver: str) -> sa.URL:
    return sa.URL.create(f"mysql+{driver}", USER, PASSWORD, HOST, PORT, SCHEMA, {"charset": "utf8mb4"})


def book(number: int) -> Book:
    return Book(
        title=f"Book {number} ä🐬", price=decimal.Decimal(number) / 4, born=dt.datetime(2020, 1, 1), more={"n": [number, None]},
        kind="paper" if number % 2 else "file",
    )  # fmt: skip


def failure(error: sa.exc.DBAPIError) -> str:
    return f"{type(error).__name__} {error.orig.args[0]}"


def schema_and_objects(driver: str) -> None:
    engine = sa.create_engine(url(driver), pool_size=2, max_overflow=2, pool_pre_ping=True)
    Base.metadata.create_all(engine)
    Base.metadata.create_all(engine)  # looks first
    with orm.Session(engine) as session, session.begin():
        for number in range(5):
            author = Author(name=f"Author {number}")
            author.books = [book(number * 10 + more) for more in range(4)]
            session.add(author)
    with orm.Session(engine) as session:
        query = sa.select(Author).options(orm.selectinload(Author.books)).order_by(Author.name)
        for author in session.scalars(query):
            say(
                author.name,
                [(b.title, b.price, b.born, b.more, b.kind) for b in sorted(author.books, key=lambda b: b.id)],
            )
        first = session.scalars(query.limit(1)).one()
        first.books[0].title = "changed"
        session.add(Author(name="Author 1"))
        try:
            session.flush()
        except sa.exc.IntegrityError as error:
            say(failure(error))
            session.rollback()
        with session.begin_nested() as inner:
            session.add(Author(name="in a savepoint"))
            session.flush()
            inner.rollback()
        session.execute(insert(Author).values(name="Author 2").on_duplicate_key_update(name="Author 2"))
        session.execute(sa.insert(Author), [{"name": f"bulk {n}"} for n in range(300)])
        session.commit()
        say(session.scalar(sa.select(sa.func.count()).select_from(Author)))
        session.delete(session.scalars(sa.select(Author).filter_by(name="Author 3")).one())
        session.commit()
        say(session.scalar(sa.select(sa.func.count()).select_from(Book)))
        rows = session.execute(sa.select(Author.name).order_by(Author.name).execution_options(yield_per=50))
        say(sum(len(name) for (name,) in rows))
        session.commit()
    inspector = sa.inspect(engine)
    say(sorted(inspector.get_table_names()))
    say([(c["name"], str(c["type"]), c["nullable"]) for c in inspector.get_columns("book")])
    say([(key["constrained_columns"], key["referred_table"]) for key in inspector.get_foreign_keys("book")])
    with engine.begin() as connection:
        Base.metadata.drop_all(connection)
    engine.dispose()


def connections_and_pools(driver: str) -> None:
    engine = sa.create_engine(
        url(driver), pool_size=1, max_overflow=0, pool_pre_ping=True, pool_reset_on_return="rollback"
    )
    with engine.connect() as connection:
        try:
            connection.execute(sa.text("SELECT * FROM nowhere"))
        except sa.exc.DBAPIError as error:
            say(failure(error))
    with engine.begin() as connection:
        say(connection.execute(sa.text("SELECT CAST(:n AS SIGNED)"), {"n": 5}).scalar())
    name = "tx_isolation" if engine.dialect.is_mariadb else "transaction_isolation"
    for level in ("SERIALIZABLE", "REPEATABLE READ", "READ COMMITTED", "AUTOCOMMIT"):
        with engine.connect().execution_options(isolation_level=level) as connection:
            say(connection.execute(sa.text(f"SELECT @@{name}, @@autocommit")).one())
    with engine.connect() as connection:
        say(connection.execute(sa.text(f"SELECT @@{name}, @@autocommit")).one())
        streamed = connection.execution_options(stream_results=True, max_row_buffer=20)
        say(len(list(streamed.execute(sa.text("SELECT table_name FROM information_schema.tables LIMIT 60")))))
    engine.dispose()


def migrations(driver: str) -> None:
    """Alembic's operations, forth and back; the version table included."""
    engine = sa.create_engine(url(driver))
    steps = (
        lambda op: op.create_table("moved", sa.Column("a", sa.Integer, primary_key=True, autoincrement=False)),
        lambda op: op.add_column("moved", sa.Column("b", sa.String(9), server_default="x")),
        lambda op: op.create_index("moved_b", "moved", ["b"]),
        lambda op: op.alter_column("moved", "b", new_column_name="c", existing_type=sa.String(9), type_=sa.String(20)),
        lambda op: op.execute("INSERT INTO moved (a) VALUES (1), (2)"),
        lambda op: op.create_check_constraint("impossible", "moved", "a > 5"),
        lambda op: op.drop_index("moved_b", "moved"),
        lambda op: op.drop_column("moved", "c"),
    )
    for number, step in enumerate(steps):
        with engine.connect() as connection:
            context = MigrationContext.configure(connection)
            try:
                with context.begin_transaction():
                    context._ensure_version_table()
                    step(Operations(context))
            except sa.exc.DBAPIError as error:
                say(number, failure(error))
        with engine.connect() as connection:
            columns = sa.inspect(connection).get_columns("moved")
            say(number, [(column["name"], str(column["type"]), column["default"]) for column in columns])
    with engine.begin() as connection:
        Operations(MigrationContext.configure(connection)).drop_table("moved")
    engine.dispose()


def both(driver: str) -> None:
    schema_and_objects(driver)
    connections_and_pools(driver)
    migrations(driver)


@part
def by_pymysql() -> None:
    both("pymysql")


@part
def by_connector() -> None:
    both("mysqlconnector")


@part
async def by_aiomysql() -> None:
    engine = create_async_engine(url("aiomysql"), pool_size=3)
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
    async with AsyncSession(engine) as session, session.begin():
        session.add_all([Author(name=f"Author {number}", books=[book(number)]) for number in range(20)])

    async def work(number: int) -> str:
        async with AsyncSession(engine) as session:
            query = sa.select(Author).where(Author.name == f"Author {number}").options(orm.selectinload(Author.books))
            author = (await session.scalars(query)).one()
            author.books.append(book(number + 100))
            name = author.name
            await session.commit()
            return name

    say(await asyncio.gather(*(work(number) for number in range(20))))
    async with AsyncSession(engine) as session:
        say(await session.scalar(sa.select(sa.func.count()).select_from(Book)))
        session.add(Author(name="Author 1"))
        try:
            await session.commit()
        except sa.exc.IntegrityError as error:
            say(failure(error))
            await session.rollback()
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.drop_all)
    await engine.dispose()


main()
