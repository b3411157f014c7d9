# What "make image" and "make release" make: VERSION=v0.1.0 for a release, else that of the commit.
VERSION ?=
# Where releases are pushed.
IMG_REPOSITORY ?= ghcr.io/nodetermination/node-termination-operator
# The image that push, docker-build, deploy and build-installer are about, and that a release installs.
IMG ?= $(if $(VERSION),$(IMG_REPOSITORY):$(VERSION),node-termination-operator:latest)
# What builds, pushes and runs images: docker, podman, nerdctl.
CONTAINER_TOOL ?= docker
# How long "make fuzz" spends on each fuzz test.
FUZZTIME ?= 10s
# KEEP=1 leaves what "make demo" started running.
KEEP ?=
# The control plane's programs are downloaded, and built where they cannot be: CONTROLPLANE=download or
# CONTROLPLANE=build forces either. CONTROLPLANE_MIRROR is the URL of a mirror of dl.k8s.io and github.com.
export CONTROLPLANE CONTROLPLANE_MIRROR
# The version of Kubernetes of test-compat and cluster-up, such as 1.34: those in hack/controlplane/kubernetes.
K8S ?=
# What "make bench" measures, and how: BENCH="drain --nodes=50". All of it by default.
BENCH ?= all
GO_TEST_FLAGS ?= -race -p 2 -timeout 40m

BIN := $(CURDIR)/bin
CONTROLPLANE_BIN := $(BIN)/controlplane
CONTROLLER_GEN := $(BIN)/controller-gen
CRD_REF_DOCS := $(BIN)/crd-ref-docs
GOLANGCI_LINT := $(BIN)/golangci-lint
GOVULNCHECK := $(BIN)/govulncheck
KUSTOMIZE := $(BIN)/kustomize
PROMTOOL := $(BIN)/promtool
RELEASE := $(BIN)/release
# The user's own kubectl, or else the control plane's.
KUBECTL ?= $(shell command -v kubectl || echo $(BIN)/kubectl)

# What "make lint", "make fmt" and "make vet" look at: the operator, and the modules under hack
# that hold more than a main function.
MODULES := . hack/controlplane hack/dashboard hack/deploy hack/helm hack/release

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
# A file whose recipe failed half-way is not up to date.
.DELETE_ON_ERROR:

.PHONY: help
help: ## Show this help.
	@awk 'BEGIN {FS = ":.*## "; printf "Usage: make \033[36m<target>\033[0m\n"} \
		/^##@ / {printf "\n\033[1m%s\033[0m\n", substr($$0, 5)} \
		/^[a-z-]+:.*## / {printf "  \033[36m%-20s\033[0m %s\n", $$1, $$2}' $(MAKEFILE_LIST)

##@ Try it

.PHONY: demo
demo: $(CONTROLPLANE_BIN) ## Watch a spot interruption become a drained node. KEEP=1 leaves it running.
	@go build -o $(BIN)/demo ./hack/demo && exec $(BIN)/demo $(if $(KEEP),--keep)

.PHONY: cluster-up
cluster-up: $(CONTROLPLANE_BIN) ## Start a local control plane in the background and print its KUBECONFIG.
	@$(CONTROLPLANE_BIN) up $(if $(K8S),--kubernetes=$(K8S))

.PHONY: cluster-down
cluster-down: $(CONTROLPLANE_BIN) ## Stop what cluster-up started.
	@$(CONTROLPLANE_BIN) down

##@ Build

.PHONY: build
build: ## Build bin/manager, bin/imds-watcher and the kubectl plugin, bin/kubectl-nt.
	go build -o $(BIN)/manager .
	go build -o $(BIN)/imds-watcher ./controllers/source/imds/imds-watcher
	go build -o $(BIN)/kubectl-nt ./controllers/cli/kubectl-nt
	@cp controllers/cli/kubectl-nt/kubectl_complete-nt $(BIN)

.PHONY: image
image: $(RELEASE) ## Write dist/image.tar, the image for linux/amd64, linux/arm64 and windows/amd64; needs no container engine.
	@$(RELEASE) image $(if $(VERSION),--version=$(VERSION))

.PHONY: push
push: $(RELEASE) ## Push what "make image" wrote to IMG, with docker's credentials.
	@$(RELEASE) push --image=$(IMG)

.PHONY: release
release: $(RELEASE) ## Fill dist with all files of release VERSION; "make push" then pushes its image.
	@rm -rf dist
	@$(RELEASE) all --version=$(VERSION) --image=$(IMG)

.PHONY: docker-build
docker-build: ## Build the image IMG; needs a container engine.
	$(CONTAINER_TOOL) build -t $(IMG) --build-arg VERSION=$(VERSION) --build-arg COMMIT=$$(git rev-parse HEAD) \
		--build-arg DATE=$$(TZ=UTC git log -1 --date=format-local:%Y-%m-%dT%H:%M:%SZ --format=%cd) .

.PHONY: build-installer
build-installer: $(KUSTOMIZE) ## Write dist/install.yaml, which installs everything with image IMG.
	@mkdir -p dist
	@$(call render,config/default) > dist/install.yaml
	@echo "dist/install.yaml: kubectl apply -f it"

.PHONY: clean
clean: ## Remove what was built here; the control plane's binaries stay in the user's data home.
	rm -rf $(BIN) dist

##@ Generate

.PHONY: generate
generate: $(CONTROLLER_GEN) ## Generate deep copies and apply configurations from the API types.
	$(CONTROLLER_GEN) object:headerFile=hack/boilerplate.go.txt \
		applyconfiguration:headerFile=hack/boilerplate.go.txt paths=./api/...

.PHONY: manifests
manifests: $(CONTROLLER_GEN) ## Generate the CRDs, and the manager's ClusterRole from the +kubebuilder:rbac markers.
	$(CONTROLLER_GEN) crd paths=./api/... output:crd:dir=config/crd/bases
	$(CONTROLLER_GEN) rbac:roleName=node-termination-manager paths=./controllers/... output:rbac:dir=config/rbac

.PHONY: dashboard
dashboard: ## Generate the Grafana dashboard, config/prometheus/dashboard.json.
	@mkdir -p $(BIN)
	go -C hack/dashboard run . > $(BIN)/dashboard.json && mv $(BIN)/dashboard.json config/prometheus/dashboard.json

.PHONY: helm
helm: ## Generate the Helm chart, config/helm, from what kustomize builds of config.
	go -C hack/helm run . generate --root=../..

# go mod tidy would look at the package as well, so it is run in a folder without one.
.PHONY: controlplane-modules
controlplane-modules: ## Tidy the module files of hack/controlplane/kubernetes, after a change of a version there.
	@copy=$$(mktemp -d) && trap 'rm -rf "$$copy"' EXIT; \
	for file in hack/controlplane/kubernetes/*.mod; do \
		echo "go mod tidy: $$file"; cp $$file "$$copy/go.mod"; rm -f "$$copy/go.sum"; \
		go -C "$$copy" mod tidy; cp "$$copy/go.mod" $$file; cp "$$copy/go.sum" $${file%.mod}.sum; done

.PHONY: record-upgrade
record-upgrade: controlplane ## Record what VERSION, a tag or a commit, leaves in a cluster, for the tests of hack/upgrade.
	@[ -n "$(VERSION)" ] || { echo "record-upgrade: of which version? make record-upgrade VERSION=v0.1.0" >&2; exit 1; }
	RECORD=$(VERSION) go test -count=1 -timeout 30m -v -run '^TestRecord$$' ./hack/upgrade

.PHONY: docs
docs: $(CRD_REF_DOCS) ## Generate the API reference, docs/api.md, and draw docs/performance.svg from docs/performance.json.
	$(CRD_REF_DOCS) --source-path=api/v1alpha1 --config=hack/tools/crd-ref-docs/config.yaml \
		--templates-dir=hack/tools/crd-ref-docs/templates --renderer=markdown --output-path=docs/api.md --log-level=ERROR
	go -C hack/dashboard run . performance ../../docs/performance.json > $(BIN)/performance.svg && mv $(BIN)/performance.svg docs/performance.svg

# In a copy, so that it says the same whatever else was changed here.
.PHONY: check-generated
check-generated: $(CONTROLLER_GEN) $(CRD_REF_DOCS) ## Check that generate, manifests, dashboard, helm and docs would change nothing.
	@copy=$$(mktemp -d) && trap 'rm -rf "$$copy"' EXIT; \
	mkdir "$$copy/hack"; \
	cp -R Makefile go.mod go.sum api controllers config docs "$$copy"; \
	cp -R hack/boilerplate.go.txt hack/tools hack/dashboard hack/helm "$$copy/hack"; \
	rm -rf "$$copy"/api/v1alpha1/applyconfiguration "$$copy"/config/crd/bases/* "$$copy"/config/rbac/role.yaml; \
	$(MAKE) --silent -C "$$copy" -o $(CONTROLLER_GEN) -o $(CRD_REF_DOCS) BIN=$(BIN) generate manifests dashboard helm docs; \
	differ=; for dir in api config docs; do diff -ru $$dir "$$copy/$$dir" || differ=yes; done; \
	[ -z "$$differ" ] || { \
		echo "check-generated: the files above are not what would be generated: run \"make generate manifests dashboard helm docs\", delete what is \"Only in\" a folder here, and commit" >&2; \
		exit 1; }
	@echo "check-generated: generated files are up to date"

##@ Check

.PHONY: test-unit
test-unit: ## Run the tests that need no control plane: under a minute.
	go test -short ./...
	go -C hack/controlplane test -short ./...
	go -C hack/helm test -short ./...
	go -C hack/release test -short ./...
	go -C hack/deploy test -short ./...

.PHONY: test
test: controlplane ## Run every test; installs the control plane if need be.
	go test $(GO_TEST_FLAGS) ./...
	go test -timeout 40m ./controllers/termination/model # all its histories: -race is too slow for them
	go -C hack/controlplane test -timeout 20m ./...
	go -C hack/helm test -timeout 20m ./...
	go -C hack/release test -timeout 40m ./... # compiles for two platforms, at first from nothing
	go -C hack/deploy test -timeout 20m ./...

# TEST=TestMainPath runs a part of them.
.PHONY: test-compat
test-compat: $(CONTROLPLANE_BIN) ## Run the tests of the whole program on another version of Kubernetes: K8S=1.34.
	@[ -n "$(K8S)" ] || { echo "test-compat: on which version? make test-compat K8S=1.34" >&2; exit 1; }
	assets=$$($(CONTROLPLANE_BIN) build --kubernetes=$(K8S)); \
	KUBEBUILDER_ASSETS=$$assets go test -count=1 -p 1 -timeout 60m $(if $(TEST),-run='$(TEST)') ./hack/e2e ./hack/upgrade

.PHONY: verify
verify: ## Check everything but the tests, and print how long each check took.
	@TIMEFORMAT='=== took %0lR'; \
	for check in check-tidy build check-windows check-generated check-kustomizations lint check-rules; do \
		echo "=== $$check"; time $(MAKE) --no-print-directory $$check; done

.PHONY: check-tidy
check-tidy: ## Check that "go mod tidy" would change nothing.
	@for file in $$(git ls-files '*go.mod'); do \
		echo "go mod tidy: $$(dirname $$file)"; go -C "$$(dirname $$file)" mod tidy -diff; done

# Its tests need Linux; what they can try of Windows is in them.
.PHONY: check-windows
check-windows: ## Check that the watcher compiles for Windows.
	GOOS=windows GOARCH=amd64 CGO_ENABLED=0 go vet ./controllers/source/imds/imds-watcher
	GOOS=windows GOARCH=amd64 CGO_ENABLED=0 go build -o $(BIN)/imds-watcher.exe ./controllers/source/imds/imds-watcher

.PHONY: check-kustomizations
check-kustomizations: $(KUSTOMIZE) ## Check that what is installed, the samples and the alerts can be built.
	@for directory in config/default config/samples config/prometheus config/overlays/*; do \
		echo "kustomize build: $$directory"; $(KUSTOMIZE) build $$directory >/dev/null; done

.PHONY: bench
bench: ## Measure speed and use, BENCH="--help" says what; all of it takes most of an hour.
	@go run ./hack/bench $(BENCH)

.PHONY: performance
performance: docs ## Write what "make bench BENCH=--json=docs/performance.json" measured into docs/performance.md and .svg.
	@go run ./hack/bench page --json=docs/performance.json

.PHONY: picture
picture: ## Draw the dashboard, docs/dashboard.svg, with a manager's metrics of some eventful minutes.
	@mkdir -p $(BIN)
	go run ./hack/bench scenario --metrics=$(BIN)/metrics.txt
	go -C hack/dashboard run . picture $(BIN)/metrics.txt > $(BIN)/dashboard.svg && mv $(BIN)/dashboard.svg docs/dashboard.svg

.PHONY: fuzz
fuzz: ## Run each fuzz test for FUZZTIME.
	@grep -rho --include='*_test.go' '^func Fuzz[A-Za-z0-9]*' api controllers hack --with-filename | while IFS=: read -r file func; do \
		echo "$$file: $${func#func }"; \
		go test "./$$(dirname "$$file")" -run '^$$' -fuzz "^$${func#func }\$$" -fuzztime $(FUZZTIME); \
	done

.PHONY: controlplane
controlplane: $(CONTROLPLANE_BIN) ## Install the local control plane, once per machine: CONTROLPLANE=download or build forces either.
	@$(CONTROLPLANE_BIN) build

.PHONY: lint
lint: $(GOLANGCI_LINT) ## Run golangci-lint with kube-api-linter.
	@for module in $(MODULES); do echo "lint: $$module"; (cd $$module && $(GOLANGCI_LINT) run ./...); done

# promtool wants the rules alone, out of the object that Prometheus Operator takes.
.PHONY: check-rules
check-rules: $(PROMTOOL) ## Test when the alerts of config/prometheus fire.
	@rules=$$(mktemp -d) && trap 'rm -rf "$$rules"' EXIT; \
	sed '1,/^spec:/d; s/^  //' config/prometheus/rules.yaml > "$$rules/rules.yaml"; \
	cp config/prometheus/rules_test.yaml "$$rules"; \
	$(PROMTOOL) check rules --lint=all --lint-fatal "$$rules/rules.yaml"; \
	$(PROMTOOL) test rules "$$rules/rules_test.yaml"

.PHONY: fmt
fmt: $(GOLANGCI_LINT) ## Format the code.
	@for module in $(MODULES); do (cd $$module && $(GOLANGCI_LINT) fmt ./...); done

.PHONY: vet
vet: ## Run go vet.
	@for module in $(MODULES); do go -C $$module vet ./...; done

.PHONY: govulncheck
govulncheck: $(GOVULNCHECK) ## Look for known vulnerabilities; needs the internet (vuln.go.dev).
	@for module in $(MODULES); do $(GOVULNCHECK) -C $$module ./...; done

##@ Install into the cluster of the current kubeconfig

.PHONY: install
install: $(KUSTOMIZE) $(filter $(BIN)/%,$(KUBECTL)) ## Install the CRDs.
	$(KUSTOMIZE) build config/crd | $(KUBECTL) apply -f -

.PHONY: uninstall
uninstall: $(KUSTOMIZE) $(filter $(BIN)/%,$(KUBECTL)) ## Remove the CRDs, and with them every policy and termination.
	$(KUSTOMIZE) build config/crd | $(KUBECTL) delete --ignore-not-found -f -

.PHONY: deploy
deploy: $(KUSTOMIZE) $(filter $(BIN)/%,$(KUBECTL)) ## Install everything, with image IMG.
	@$(call render,config/default) | $(KUBECTL) apply -f -

.PHONY: undeploy
undeploy: $(KUSTOMIZE) $(filter $(BIN)/%,$(KUBECTL)) ## Remove everything.
	$(KUSTOMIZE) build config/default | $(KUBECTL) delete --ignore-not-found -f -

# render prints a kustomization of config with the image IMG, and leaves the files as they are.
define render
copy=$$(mktemp -d) && trap 'rm -rf "$$copy"' EXIT; cp -R config "$$copy"; \
	(cd "$$copy/config/manager" && $(KUSTOMIZE) edit set image node-termination-operator=$(IMG)); \
	$(KUSTOMIZE) build "$$copy/$(1)"
endef

# Tools: built from the versions in their go.mod, and again only when those change.

TOOLS_MOD := hack/tools/go.mod hack/tools/go.sum
LINT_MOD := $(wildcard hack/tools/golangci-lint/*)

$(CONTROLLER_GEN): PACKAGE := sigs.k8s.io/controller-tools/cmd/controller-gen
$(CRD_REF_DOCS): PACKAGE := github.com/elastic/crd-ref-docs
$(GOVULNCHECK): PACKAGE := golang.org/x/vuln/cmd/govulncheck
$(KUSTOMIZE): PACKAGE := sigs.k8s.io/kustomize/kustomize/v5
$(CONTROLLER_GEN) $(CRD_REF_DOCS) $(GOVULNCHECK) $(KUSTOMIZE): $(TOOLS_MOD)
	@echo "building $@"
	@go -C hack/tools build -o $@ $(PACKAGE)

$(PROMTOOL): hack/tools/promtool/go.mod hack/tools/promtool/go.sum
	@echo "building $@: some minutes the first time"
	@go -C hack/tools/promtool build -o $@ github.com/prometheus/prometheus/cmd/promtool

$(GOLANGCI_LINT): $(LINT_MOD)
	@echo "building $@: some minutes the first time"
	@go -C hack/tools/golangci-lint build -o $@ .

$(RELEASE): $(wildcard hack/release/*)
	@go -C hack/release build -o $@ .

$(CONTROLPLANE_BIN): $(wildcard hack/controlplane/* hack/controlplane/kubernetes/*)
	@go -C hack/controlplane build -o $@ .

$(BIN)/kubectl: $(CONTROLPLANE_BIN)
	@ln -sf "$$($(CONTROLPLANE_BIN) build)/kubectl" $@
