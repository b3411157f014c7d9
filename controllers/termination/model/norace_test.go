// SPDX-License-Identifier: Apache-2.0

//go:build !race

package model

// raceDetector is on in the other file.
const raceDetector = false
