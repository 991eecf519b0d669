"""SQLAlchemy over psycopg, asyncpg and pg8000, and alembic: schema, mapped classes, pools, isolation levels, migrations."""

from __future__ import annotations

import asyncio
import datetime as dt
import decimal
import os
import socket
from typing import Any

import sqlalchemy as sa
from alembic.migration import MigrationContext
from alembic.operations import Operations
from sqlalchemy import orm
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, insert
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine

from tests.drivers.programs.transcript import DATABASE, HOST, PASSWORD, PORT, SCHEMA, USER, main, part, say


class Base(orm.DeclarativeBase):
    metadata = sa.MetaData(schema=SCHEMA)


class Author(Base):
    __tablename__ = "author"
    id: orm.Mapped[int] = orm.mapped_column(primary_key=True)
    name: orm.Mapped[str] = orm.mapped_column(sa.String(50), unique=True)
    books: orm.Mapped[list[Book]] = orm.relationship(back_populates="author", cascade="all, delete-orphan")


class Book(Base):
    __tablename__ = "book"
    id: orm.Mapped[int] = orm.mapped_column(primary_key=True)
    title: orm.Mapped[str]
    price: orm.Mapped[decimal.Decimal] = orm.mapped_column(sa.Numeric(8, 2))
    born: orm.Mapped[dt.datetime] = orm.mapped_column(sa.DateTime(timezone=True))
    tags: orm.Mapped[list[str]] = orm.mapped_column(ARRAY(sa.Text))
    more: orm.Mapped[dict[str, Any]] = orm.mapped_column(JSONB)
    kind: orm.Mapped[str] = orm.mapped_column(sa.Enum("paper", "file", name="kind", schema=SCHEMA))
    author_id: orm.Mapped[int] = orm.mapped_column(sa.ForeignKey(f"{SCHEMA}.author.id"))
    author: orm.Mapped[Author] = orm.relationship(back_populates="books")


def url(driver: str) -> sa.URL:
    return sa.URL.create(f"postgresql+{driver}", USER, PASSWORD, HOST, PORT, DATABASE)


def book(number: int, author: Author | None = None) -> Book:
    return Book(
        title=f"Book {number}", price=decimal.Decimal(number) / 4, born=dt.datetime(2020, 1, 1, tzinfo=dt.UTC),
        tags=["a", f"t{number}"], more={"n": number}, kind="paper" if number % 2 else "file", author=author,
    )  # fmt: skip


def failure(error: sa.exc.DBAPIError) -> str:
    """Without the statement's text; pg8000 adds where in the server's source an error was raised."""
    first = error.orig.args[0]
    return f"{type(error).__name__} {first['M'] if isinstance(first, dict) else first}"


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
                [(b.title, b.price, b.tags, b.more, b.kind) for b in sorted(author.books, key=lambda b: b.title)],
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
        session.execute(insert(Author).values(name="Author 2").on_conflict_do_nothing())
        session.execute(sa.insert(Author).returning(Author.name), [{"name": f"bulk {n}"} for n in range(300)])
        session.commit()
        say(session.scalar(sa.select(sa.func.count()).select_from(Author)))
        session.delete(session.scalars(sa.select(Author).filter_by(name="Author 3")).one())
        session.commit()
        say(session.scalar(sa.select(sa.func.count()).select_from(Book)))
        rows = session.execute(sa.select(Author.name).order_by(Author.name).execution_options(yield_per=50))
        say(sum(len(name) for (name,) in rows))
        session.commit()
    inspector = sa.inspect(engine)
    say(sorted(inspector.get_table_names(schema=SCHEMA)))
    say([(c["name"], str(c["type"]), c["nullable"]) for c in inspector.get_columns("book", schema=SCHEMA)])
    say(inspector.get_foreign_keys("book", schema=SCHEMA), inspector.get_unique_constraints("author", schema=SCHEMA))
    engine.dispose()


def connections_and_pools(driver: str) -> None:
    engine = sa.create_engine(url(driver), pool_size=1, max_overflow=0, pool_pre_ping=True)
    with engine.connect() as connection:
        try:
            connection.execute(sa.text("SELECT 1/0"))
        except sa.exc.DBAPIError as error:
            say(failure(error))
    with engine.begin() as connection:
        say(connection.execute(sa.text("SELECT CAST(:n AS int)"), {"n": 5}).scalar())
    # the connection breaks while it is in the pool: the ping finds out and a new one is made
    with engine.connect() as connection:
        raw = connection.connection.driver_connection
    with socket.socket(fileno=os.dup(raw.fileno() if driver == "psycopg" else raw._usock.fileno())) as broken:
        broken.shutdown(socket.SHUT_RDWR)
    with engine.connect() as connection:
        say(connection.execute(sa.text("SELECT 'alive'")).scalar())
    for level in ("SERIALIZABLE", "REPEATABLE READ", "READ COMMITTED"):
        with engine.connect().execution_options(isolation_level=level) as connection:
            say(connection.execute(sa.text("SHOW transaction_isolation")).scalar())
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        say(connection.execute(sa.text("SHOW transaction_isolation")).scalar())
    with engine.connect() as connection:
        say(connection.execute(sa.text("SHOW transaction_isolation")).scalar())
        streamed = connection.execution_options(stream_results=True, max_row_buffer=20)
        say(sum(row[0] for row in streamed.execute(sa.text("SELECT n FROM generate_series(1, 200) n"))))
    engine.dispose()


def migrations(driver: str) -> None:
    """Alembic's operations, forth and back, each in a transaction; the version table included."""
    engine = sa.create_engine(url(driver))
    steps = (
        lambda op: op.create_table("moved", sa.Column("a", sa.Integer, primary_key=True), schema=SCHEMA),
        lambda op: op.add_column("moved", sa.Column("b", sa.String(9), server_default="x"), schema=SCHEMA),
        lambda op: op.create_index("moved_b", "moved", ["b"], schema=SCHEMA),
        lambda op: op.alter_column("moved", "b", new_column_name="c", type_=sa.Text(), schema=SCHEMA),
        lambda op: op.execute(f"INSERT INTO {SCHEMA}.moved (a) SELECT generate_series(1, 10)"),
        lambda op: op.create_check_constraint("positive", "moved", "a > 0", schema=SCHEMA),
        lambda op: op.create_check_constraint("impossible", "moved", "a > 5", schema=SCHEMA),
        lambda op: op.drop_column("moved", "c", schema=SCHEMA),
    )
    for number, step in enumerate(steps):
        with engine.connect() as connection:
            context = MigrationContext.configure(connection, opts={"version_table_schema": SCHEMA})
            try:
                with context.begin_transaction():
                    context._ensure_version_table()
                    step(Operations(context))
            except sa.exc.DBAPIError as error:
                say(number, failure(error))
        with engine.connect() as connection:
            columns = sa.inspect(connection).get_columns("moved", schema=SCHEMA)
            say(number, [(column["name"], str(column["type"]), column["default"]) for column in columns])
    with engine.begin() as connection:
        Operations(MigrationContext.configure(connection)).drop_table("moved", schema=SCHEMA)
    engine.dispose()


async def over_asyncpg(**more: Any) -> None:
    engine = create_async_engine(url("asyncpg"), pool_size=3, pool_pre_ping=True, **more)
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
            say(type(error).__name__, error.orig.sqlstate)
            await session.rollback()
        result = await session.stream_scalars(sa.select(Author.name).order_by(Author.name))
        say([name async for name in result])
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.drop_all)
    await engine.dispose()


def both(driver: str) -> None:
    schema_and_objects(driver)
    engine = sa.create_engine(url(driver))
    with engine.begin() as connection:
        Base.metadata.drop_all(connection)
    engine.dispose()
    connections_and_pools(driver)
    migrations(driver)


@part
def by_psycopg() -> None:
    both("psycopg")


@part
def by_pg8000() -> None:
    both("pg8000")


@part
async def by_asyncpg() -> None:
    await over_asyncpg()


@part
async def by_asyncpg_without_a_cache() -> None:
    await over_asyncpg(connect_args={"prepared_statement_cache_size": 0})


main()
