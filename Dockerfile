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
RUN GOOS=$TARGETOS GOARCH=$TARGETARCH go build -trimpath -ldflags "-s -w" -o /out/manager . && \
    GOOS=$TARGETOS GOARCH=$TARGETARCH go build -trimpath -ldflags "-s -w" -o /out/imds-watcher ./controllers/source/imds/imds-watcher

# https://github.com/GoogleContainerTools/distroless
FROM gcr.io/distroless/static-debian12:nonroot
COPY --from=build /out/manager /out/imds-watcher /
USER 65532:65532
ENTRYPOINT ["/manager"]
