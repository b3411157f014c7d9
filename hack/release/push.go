// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// push sends the image that "release image" wrote to a registry, with the user's docker
// credentials, and then the lists of what is in it.
func push(ctx context.Context, o *options, stdout io.Writer) (err error) {
	tag, err := parseTag(o.image)
	if err != nil {
		return err
	}
	folder, err := os.MkdirTemp("", "push-")
	if err != nil {
		return fmt.Errorf("cannot push: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(folder)) }()
	b, err := read(filepath.Join(o.dist, imageFile), folder)
	if err != nil {
		return err
	}
	with := []remote.Option{remote.WithContext(ctx), remote.WithAuthFromKeychain(authn.DefaultKeychain), remote.WithUserAgent("node-termination-operator")}
	if err := remote.WriteIndex(tag, b.index, with...); err != nil {
		return fmt.Errorf("cannot push to %s: %w", tag, err)
	}
	for _, sbom := range b.sboms {
		digest, err := sbom.Digest()
		if err == nil {
			err = remote.Write(tag.Digest(digest.String()), sbom, with...)
		}
		if err != nil {
			return fmt.Errorf("cannot push the list of modules to %s: %w", tag, err)
		}
	}
	digest, err := b.index.Digest()
	if err != nil {
		return fmt.Errorf("cannot compute the digest of the image: %w", err)
	}
	_, _ = fmt.Fprintf(stdout, "%s@%s\n", tag, digest)
	return nil
}

// parseTag returns where an image is, or will be.
func parseTag(image string) (name.Tag, error) {
	if image == "" {
		return name.Tag{}, errors.New("--image: write where the image is pushed, such as registry.example.com/node-termination-operator:v0.1.0")
	}
	tag, err := name.NewTag(image, name.StrictValidation)
	if err != nil {
		return name.Tag{}, fmt.Errorf("--image %q: write registry/repository:tag: %w", image, err)
	}
	return tag, nil
}
