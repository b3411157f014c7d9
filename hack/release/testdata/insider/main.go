// SPDX-License-Identifier: Apache-2.0

// Insider says what a program finds in the image that it runs in.
package main

import (
	"crypto/x509"
	"fmt"
	"os"
	"time"
)

func main() {
	roots, err := x509.SystemCertPool()
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	if roots.Equal(x509.NewCertPool()) {
		fmt.Println("no certificates")
		os.Exit(1)
	}
	if _, err := time.LoadLocation("Europe/Berlin"); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println("found, as user", os.Getuid())
}
