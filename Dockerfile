# One image for all processes: web servers, workers, and commands such as migrate.
# docs/how-to/scale-out.md says how to use it; tests/deploy/ does what it says without Docker.
FROM python:3.11-slim-bookworm

ENV PYTHONUNBUFFERED=1
ENV VAR_DIR=/var/lib/durably

RUN useradd --system --uid 10001 --home-dir /var/lib/durably --create-home durably
WORKDIR /srv/durably

COPY requirements.txt ./
RUN python -m pip install --no-cache-dir -r requirements.txt

COPY manage.py ./
COPY durably_site durably_site
COPY runs runs
COPY templates templates
COPY static static
COPY jobs jobs
RUN python -m compileall -q durably_site runs jobs

USER durably
VOLUME /var/lib/durably
EXPOSE 8000
STOPSIGNAL SIGTERM
ENTRYPOINT ["python", "manage.py"]
CMD ["web", "--host", "0.0.0.0"]
