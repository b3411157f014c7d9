// SPDX-License-Identifier: Apache-2.0

//go:build race

package model

// raceDetector makes a history take eight times as long.
const raceDetector = true
