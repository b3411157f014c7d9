// SPDX-License-Identifier: Apache-2.0

//go:build !windows

package main

import "os"

// bootIDFile is where Linux has it.
const bootIDFile = "/proc/sys/kernel/random/boot_id"

// readBootID returns what tells this boot of the machine from others.
func readBootID() (string, error) {
	file, err := os.ReadFile(bootIDFile)
	if err != nil {
		return "", err
	}
	return linuxBootID(file)
}
