// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"

	"golang.org/x/sys/windows/registry"
)

const (
	// bootIDKey is the key of the registry where the kubelet has it from, too.
	bootIDKey = `SYSTEM\CurrentControlSet\Control\Session Manager\Memory Management\PrefetchParameters`
	// bootIDValue is the value of that key.
	bootIDValue = "BootId"
)

// readBootID returns what tells this boot of the machine from others.
func readBootID() (id string, err error) {
	key, err := registry.OpenKey(registry.LOCAL_MACHINE, bootIDKey, registry.QUERY_VALUE)
	if err != nil {
		return "", fmt.Errorf("HKEY_LOCAL_MACHINE\\%s: %w", bootIDKey, err)
	}
	defer func() { _ = key.Close() }() // it was only read
	boots, _, err := key.GetIntegerValue(bootIDValue)
	if err != nil {
		return "", fmt.Errorf("%s of HKEY_LOCAL_MACHINE\\%s: %w", bootIDValue, bootIDKey, err)
	}
	return windowsBootID(boots)
}
