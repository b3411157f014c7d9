// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"

	cdx "github.com/CycloneDX/cyclonedx-go"
	"github.com/CycloneDX/cyclonedx-gomod/pkg/generate/bin"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/partial"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/rs/zerolog"
)

// cycloneDX is the media type of a list of components. https://cyclonedx.org
const cycloneDX types.MediaType = "application/vnd.cyclonedx+json"

// sbom returns the list of all modules in the programs, the same for the same programs: without
// a serial number and a time, and with package URLs that do not name the platform of whoever builds.
func (s *source) sbom(p platform, programs []string) ([]byte, error) {
	whole := cdx.NewBOM()
	var components []cdx.Component
	var dependencies []cdx.Dependency
	for _, program := range programs {
		generator, err := bin.NewGenerator(program, bin.WithIncludeStdlib(true), bin.WithVersionOverride(s.version),
			bin.WithShortPURLS(true), bin.WithLogger(zerolog.Nop()))
		if err != nil {
			return nil, fmt.Errorf("cannot list the modules of %s: %w", program, err)
		}
		bom, err := generator.Generate()
		if err != nil {
			return nil, fmt.Errorf("cannot list the modules of %s: %w", program, err)
		}
		components = append(components, *bom.Components...)
		if bom.Dependencies != nil {
			dependencies = append(dependencies, *bom.Dependencies...)
		}
		if whole.Metadata == nil {
			whole.Metadata = &cdx.Metadata{Component: bom.Metadata.Component, Properties: &[]cdx.Property{
				{Name: "cdx:gomod:build:env:GOARCH", Value: p.arch}, {Name: "cdx:gomod:build:env:GOOS", Value: p.os},
			}}
		}
	}
	whole.Components = ptrTo(distinct(components, func(c cdx.Component) string { return c.BOMRef }))
	whole.Dependencies = ptrTo(distinct(dependencies, func(d cdx.Dependency) string { return d.Ref }))
	var out bytes.Buffer
	if err := cdx.NewBOMEncoder(&out, cdx.BOMFileFormatJSON).SetPretty(true).Encode(whole); err != nil {
		return nil, fmt.Errorf("cannot write the list of modules: %w", err)
	}
	return out.Bytes(), nil
}

// distinct returns each element once, in the order of their keys.
func distinct[E any](all []E, key func(E) string) []E {
	all = slices.Clone(all)
	slices.SortStableFunc(all, func(a, b E) int { return cmp.Compare(key(a), key(b)) })
	return slices.CompactFunc(all, func(a, b E) bool { return key(a) == key(b) })
}

func ptrTo[E any](e E) *E { return &e }

// sbomImage returns the list of what an image contains as an artifact that refers to it.
// https://github.com/opencontainers/image-spec/blob/main/manifest.md#guidelines-for-artifact-usage
func (s *source) sbomImage(img v1.Image, p platform, programs []string) (v1.Image, error) {
	data, err := s.sbom(p, programs)
	if err != nil {
		return nil, err
	}
	list := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), cycloneDX)
	list, err = mutate.Append(list, mutate.Addendum{Layer: static.NewLayer(data, cycloneDX), MediaType: cycloneDX})
	if err != nil {
		return nil, fmt.Errorf("cannot make the list of modules an artifact: %w", err)
	}
	subject, err := partial.Descriptor(img)
	if err != nil {
		return nil, fmt.Errorf("cannot describe the image: %w", err)
	}
	if list, err = annotate(list, s.annotations()); err != nil {
		return nil, err
	}
	return asImage(mutate.Subject(list, v1.Descriptor{MediaType: subject.MediaType, Size: subject.Size, Digest: subject.Digest}))
}
