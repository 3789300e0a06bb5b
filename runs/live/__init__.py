"""What changes, told while it changes: one poller per process, however many watch.

Two things can be watched. Nothing here knows of pages or of HTTP.

**What changed**, for whoever looks at it anew, as pages do: ``hub``, by topics::

    subscription = hub.subscribe(Topics.parse(["run:0192…", "workers"]), after=cursor)
    try:
        changes = await subscription.next(within=15)
    finally:
        subscription.close()

**Every record**, in order, exactly once: ``feeds``. A record is a row of ``RunEvent``, ``Step``
or ``LogEntry`` with its run; all rows of a run share one ``seq``. One run, after a ``seq`` (0 for
its whole history, ``run.seq`` for what comes from now on)::

    feed = feeds.follow_run(run.pk, after=0)
    try:
        while True:
            news = await feed.next(within=10)  # None: nothing in these seconds
            for record in news.records if news else ():
                record.run.job, record.run.labels, record.seq, record.row
                record.status  # "running", …: what this event changed the run to, else None
            for move in news.moves if news else ():
                move.run.progress, move.run.current_step  # what changed: move.progress, move.step
            if news and news.gone:
                break  # the run was deleted
    except Ended:
        pass  # this process stops
    finally:
        feed.close()

Many runs, by any query::

    runs = visible_runs(actor).filter(job__in=jobs).with_labels({"tenant": "acme"})
    selection = Selection.of(runs, hides_none=sees_all_runs(actor))
    feed = feeds.follow_runs(selection, after=Place.parse(text))  # or from now on: after=None

``feed.place``, as text, is where to go on after the news collected so far; ``record``s of one
piece of news are in the order of (run, ``seq``), and ``place_after(news, record)`` is the place
within. Records of steps and log lines, and moves, have the run without its payloads.

What is told, also after a break, is all of it: a feed that is new, slow or was cut off reads
what it missed from the database, in pages, and then joins the others. Two limits: of a step
that failed and was tried again, only the last end is there to be read later; and a run that is
deleted takes with it what was not collected. Moves are no records: the last value counts, and
may come again. The progress with which a run ends comes before or with its last record.
Deletions reach a feed of many runs only if this process made them, and if its selection
``hides_none``. Never cancel ``next``; it takes the seconds to wait.
"""

from __future__ import annotations

from runs.live.changes import Changes, Event, Topics
from runs.live.cursor import Cursor
from runs.live.following import Feeds, RunFeed, RunsFeed
from runs.live.hub import Hub, Subscription
from runs.live.poller import Ended
from runs.live.position import BEGINNING, Place, Position
from runs.live.records import Gone, Move, News, Record, place_after
from runs.live.selection import Selection

#: Those of this process.
hub = Hub()
feeds = Feeds()


def close() -> None:
    """End all that is watched, so that every stream ends. From any thread."""
    hub.close()
    feeds.close()


__all__ = [
    "BEGINNING",
    "Changes",
    "Cursor",
    "Ended",
    "Event",
    "Feeds",
    "Gone",
    "Hub",
    "Move",
    "News",
    "Place",
    "Position",
    "Record",
    "RunFeed",
    "RunsFeed",
    "Selection",
    "Subscription",
    "Topics",
    "close",
    "feeds",
    "hub",
    "place_after",
]
