# A static binary on an empty root: nothing to patch, nothing to log in to. Works with a read-only root file system; mount a
# volume at /data for the records of keyed writes.
FROM golang:1.26 AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
ARG VERSION=dev COMMIT=unknown
RUN CGO_ENABLED=0 go build -trimpath -ldflags "-s -w -X main.version=${VERSION} -X main.commit=${COMMIT}" -o /out/gateway ./cmd/gateway \
 && go run ./scripts/sbom -version "${VERSION}" -o /out/sbom.cdx.json /out/gateway \
 && mkdir -p /out/data && cp /etc/ssl/certs/ca-certificates.crt /out/

FROM scratch AS sbom
COPY --from=build /out/sbom.cdx.json /sbom.cdx.json

FROM scratch AS final
COPY --from=build /out/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /out/gateway /gateway
COPY --from=build /out/sbom.cdx.json /sbom.cdx.json
COPY --from=build --chown=65532:65532 /out/data /data
USER 65532:65532
VOLUME /data
EXPOSE 8080 9901
HEALTHCHECK --interval=5s --timeout=2s CMD ["/gateway", "health", "-config", "/etc/oncegate/gateway.yaml"]
ENTRYPOINT ["/gateway"]
CMD ["run", "-config", "/etc/oncegate/gateway.yaml"]
