# Compiles on the machine that builds, for the platform that runs.
FROM --platform=$BUILDPLATFORM golang:1.26 AS build
ARG TARGETOS TARGETARCH
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY main.go ./
COPY api api
COPY controllers controllers
ENV CGO_ENABLED=0
# What --version prints; "make docker-build" sets them.
ARG VERSION COMMIT DATE
ARG LDFLAGS="-s -w \
    -X github.com/nodetermination/operator/controllers/version.version=$VERSION \
    -X github.com/nodetermination/operator/controllers/version.commit=$COMMIT \
    -X github.com/nodetermination/operator/controllers/version.date=$DATE"
RUN GOOS=$TARGETOS GOARCH=$TARGETARCH go build -trimpath -ldflags "$LDFLAGS" -o /out/manager . && \
    GOOS=$TARGETOS GOARCH=$TARGETARCH go build -trimpath -ldflags "$LDFLAGS" -o /out/imds-watcher ./controllers/source/imds/imds-watcher

# https://github.com/GoogleContainerTools/distroless
FROM gcr.io/distroless/static-debian12:nonroot
COPY --from=build /out/manager /out/imds-watcher /
USER 65532:65532
ENTRYPOINT ["/manager"]
