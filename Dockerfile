# docker build -t muster:0.1.0 .
#
# Nothing but the base image and npm's packages is fetched, and nothing that is installed runs code at install time.
# The image runs with a read-only root: it writes nothing. `docker run muster:0.1.0 get pools` and every other command work too.
ARG NODE_IMAGE=node:24-slim

FROM ${NODE_IMAGE} AS build
WORKDIR /app
COPY package.json package-lock.json .npmrc ./
RUN npm ci --ignore-scripts
COPY tsconfig.json LICENSE README.md ./
COPY scripts/run.mjs scripts/run.mjs
COPY proto proto
COPY src src
RUN npm run build && npm prune --omit=dev --ignore-scripts

FROM ${NODE_IMAGE}
ARG REVISION=unknown
ARG CREATED=unknown
LABEL org.opencontainers.image.title="Muster" \
      org.opencontainers.image.description="Tracks a fleet of gRPC workers and assigns each job to exactly one free worker." \
      org.opencontainers.image.version="0.1.0" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.created="${CREATED}"
ENV NODE_ENV=production
WORKDIR /app
COPY --from=build --chown=root:root /app/package.json /app/LICENSE ./
COPY --from=build --chown=root:root /app/node_modules node_modules
COPY --from=build --chown=root:root /app/proto proto
COPY --from=build --chown=root:root /app/dist dist
# 1000 is `node` of the image; a number, so that Kubernetes can see that it is not root.
USER 1000
EXPOSE 50051 8080
STOPSIGNAL SIGTERM
# grpc.health.v1 at MUSTER_GRPC_ADDR: SERVING once it is ready, and no more when it stops. What is no replica turns it off.
HEALTHCHECK --interval=30s --timeout=5s --start-period=15s CMD ["node", "/app/dist/main.js", "healthcheck"]
ENTRYPOINT ["node", "/app/dist/main.js"]
CMD ["serve"]
