// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io/fs"
	"os"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/api/types"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/yaml"
)

// imageName is what the image is called in config.
const imageName = "node-termination-operator"

// render returns the objects of a kustomization of config, with the image of this release by its
// digest; the tag is there for people to read.
func (s *source) render(kustomization string, tag name.Tag, digest v1.Hash) ([]byte, error) {
	files, err := readConfig(s.root)
	if err != nil {
		return nil, err
	}
	overlay, err := yaml.Marshal(types.Kustomization{
		Resources: []string{"../" + kustomization},
		Images:    []types.Image{{Name: imageName, NewName: tag.Repository.Name(), NewTag: tag.TagStr(), Digest: digest.String()}},
	})
	if err != nil {
		return nil, fmt.Errorf("cannot render %s: %w", kustomization, err)
	}
	if err := files.WriteFile("/release/kustomization.yaml", overlay); err != nil {
		return nil, fmt.Errorf("cannot render %s: %w", kustomization, err)
	}
	options := krusty.MakeDefaultOptions()
	options.Reorder = krusty.ReorderOptionUnspecified // as "kustomize build" does: namespaces come first
	objects, err := krusty.MakeKustomizer(options).Run(files, "/release")
	if err != nil {
		return nil, fmt.Errorf("cannot render %s: %w", kustomization, err)
	}
	rendered, err := objects.AsYaml()
	if err != nil {
		return nil, fmt.Errorf("cannot render %s: %w", kustomization, err)
	}
	header := fmt.Sprintf("# node-termination-operator %s, commit %s: https://github.com/nodetermination/operator\n", s.version, s.commit)
	return append([]byte(header), rendered...), nil
}

// readConfig returns the folder config of the repository in memory, so that an overlay can be put
// beside it.
func readConfig(root string) (filesys.FileSystem, error) {
	files := filesys.MakeFsInMemory()
	repository := os.DirFS(root)
	err := fs.WalkDir(repository, "config", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		data, err := fs.ReadFile(repository, path)
		if err != nil {
			return err
		}
		return files.WriteFile("/"+path, data)
	})
	if err != nil {
		return nil, fmt.Errorf("cannot read config: %w", err)
	}
	return files, nil
}
