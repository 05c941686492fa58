# An image of arbd, as an example: compose.yaml runs it, docs/deploy.md explains it. The provider's code is mounted, or
# copied in an image that is made from this one (FROM, COPY, RUN pip install what it imports).
ARG PYTHON=3.13

FROM python:${PYTHON}-slim AS build
COPY pyproject.toml README.md LICENSE /src/
COPY systemd /src/systemd
COPY arbd /src/arbd
RUN python -m venv /opt/arbd && /opt/arbd/bin/pip install --no-cache-dir /src

FROM python:${PYTHON}-slim
COPY --from=build /opt/arbd /opt/arbd
# A number, so that a cluster which asks for it can see that this is not root.
RUN useradd --uid 10001 --user-group --no-create-home --home-dir /tmp --shell /usr/sbin/nologin arbd
ENV PATH=/opt/arbd/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1
WORKDIR /srv/provider
USER 10001:10001
# Drain and stop; whoever stops it should wait longer than drain_timeout and 25 seconds.
STOPSIGNAL SIGTERM
# Hub up and workers serving.
HEALTHCHECK --interval=15s --timeout=5s --start-period=60s --retries=3 CMD ["arbd", "status", "--check"]
# arbd is PID 1, without a shell or an init before it: it gets the signals, and reaps what loses its parent.
ENTRYPOINT ["arbd"]
CMD ["run", "provider.py"]
