"""SQLAlchemy through Primacy, with psycopg or asyncpg, in autocommit or with transactions (that wait for their first write or not): its connections alone, its ORM whole, reads alone."""
import asyncio
import sys
from sqlalchemy import ForeignKey, func, inspect, insert, select, text, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, relationship, selectinload

dsn, what, dialect, mode = sys.argv[1:5]
table = f"{dialect}_{mode}"


class Base(DeclarativeBase):
    pass


class Author(Base):
    __tablename__ = f"author_{table}"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    books: Mapped[list["Book"]] = relationship(back_populates="author", cascade="all, delete-orphan", order_by="Book.id")


class Book(Base):
    __tablename__ = f"book_{table}"
    id: Mapped[int] = mapped_column(primary_key=True)
    title: Mapped[str]
    author_id: Mapped[int] = mapped_column(ForeignKey(Author.id))
    author: Mapped[Author] = relationship(back_populates="books")


def whole(session):
    """In one session, as asyncio's programs have it, too."""
    connection = session.connection()
    Base.metadata.drop_all(connection)
    Base.metadata.create_all(connection)
    session.commit()
    inspector = inspect(session.connection())
    assert {c["name"] for c in inspector.get_columns(Book.__tablename__)} == {"id", "title", "author_id"}
    assert inspector.get_foreign_keys(Book.__tablename__)[0]["referred_table"] == Author.__tablename__
    session.add_all(Author(name=f"a{n}", books=[Book(title=f"b{n}.{k}") for k in range(3)]) for n in range(10))
    session.commit()
    authors = session.scalars(select(Author).options(selectinload(Author.books)).order_by(Author.id)).all()
    assert [len(author.books) for author in authors] == [3] * 10
    first, second = authors[0].id, authors[1].id
    authors[0].name = "renamed"
    session.delete(authors[9])
    session.commit()
    assert session.scalar(select(func.count()).select_from(Book)) == 27
    assert session.scalars(select(Author.name).where(Author.id == first)).one() == "renamed"
    if mode != "autocommit":
        session.add(Author(name="outer"))
        session.flush()
        try:
            with session.begin_nested():
                session.add(Author(name="renamed"))
                session.flush()
        except IntegrityError:
            pass
        session.commit()
        session.execute(update(Book).values(title="gone"))
        session.rollback()
        assert session.scalar(select(func.count()).select_from(Book).where(Book.title == "gone")) == 0
        assert session.scalar(select(func.count()).select_from(Author)) == 10
        rows = session.execute(select(Book.id).order_by(Book.id), execution_options={"yield_per": 10})
        assert len(rows.all()) == 27
        session.commit()
    session.execute(insert(Book), [{"title": f"many{n}", "author_id": second} for n in range(500)])
    session.commit()
    assert session.scalar(select(func.count()).select_from(Book)) == 527
    returned = session.scalars(insert(Author).returning(Author.id), [{"name": f"r{n}"} for n in range(20)]).all()
    session.commit()
    assert len(set(returned)) == 20
    try:
        session.add(Author(name="renamed"))
        session.commit()
        raise AssertionError("a name is unique")
    except IntegrityError:
        session.rollback()


def read(connection, n):
    assert connection.execute(text("SELECT CAST(:n AS integer) + 1"), {"n": n}).scalar() == n + 1


async def with_asyncpg():
    engine = create_async_engine(dsn.replace("postgresql:", "postgresql+asyncpg:"), pool_size=4, **options)
    if what == "whole":
        async with AsyncSession(engine) as session:
            await session.run_sync(whole)
        async with AsyncSession(engine) as session:
            assert len((await session.scalars(select(Author))).all()) > 20
    else:
        async def reader(count):
            for n in range(count):
                async with engine.connect() as connection:
                    await connection.run_sync(read, n)
        await asyncio.gather(*(reader(100) for _ in range(4)))
    sys.stdout.write("ok")
    sys.stdout.flush()
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    await engine.dispose()


def with_psycopg():
    from sqlalchemy import create_engine
    engine = create_engine(dsn.replace("postgresql:", "postgresql+psycopg:"), pool_size=4, **options)
    if what == "whole":
        with Session(engine) as session:
            whole(session)
    else:
        for n in range(400):
            with engine.connect() as connection:
                read(connection, n)
    sys.stdout.write("ok")
    sys.stdout.flush()
    sys.stdin.read()  # its pool holds its connections; the proxy is asked meanwhile
    engine.dispose()


options = {"isolation_level": "AUTOCOMMIT"} if mode == "autocommit" else {}
if dialect == "asyncpg":
    asyncio.run(with_asyncpg())
else:
    with_psycopg()
