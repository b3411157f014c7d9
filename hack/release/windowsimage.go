// SPDX-License-Identifier: Apache-2.0

package main

import v1 "github.com/google/go-containerregistry/pkg/v1"

// windowsPrograms are those in the image for Windows, where only watchers run.
var windowsPrograms = []program{{"imds-watcher.exe", "./controllers/source/imds/imds-watcher"}}

// windowsHives are the files that Windows looks for in the lowest layer of an image. A HostProcess container does not
// use them, as it uses the node's own.
var windowsHives = []string{"DEFAULT", "SAM", "SECURITY", "SOFTWARE", "SYSTEM"}

// windowsImage returns the image for Windows, which is for HostProcess containers: they have all of the operating system from
// the node, so there is none in it, and it names no version of Windows (os.version), with which it would fit one only.
// https://github.com/microsoft/windows-host-process-containers-base-image
func (s *source) windowsImage(p platform, programs []file) (v1.Image, error) {
	var files []file // below Files, as in every layer of Windows
	for _, hive := range windowsHives {
		files = append(files, file{"Files/Windows/System32/config/" + hive, 0o644, emptyHive(hive)})
	}
	for _, program := range programs {
		files = append(files, file{"Files/" + program.path, program.mode, program.data})
	}
	config := v1.Config{Entrypoint: []string{programs[0].path}, Labels: s.annotations()}
	return s.newImage(p, config, []layer{{files, s.date, "the watcher"}})
}
