// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"strconv"
	"strings"
)

// The manager compares the boot ID with the Node's status.nodeInfo.bootID, so that each system has it from
// where the kubelet has it.

// linuxBootID returns the boot ID that a file of /proc has.
func linuxBootID(file []byte) (string, error) {
	id := strings.TrimSpace(string(file))
	if id == "" {
		return "", errors.New("the file is empty")
	}
	return id, nil
}

// windowsBootID returns the boot ID of a value of the registry, which Windows counts up at each boot.
func windowsBootID(boots uint64) (string, error) {
	if boots == 0 {
		return "", errors.New("no boot was counted")
	}
	return strconv.FormatUint(boots, 10), nil
}
