// SPDX-License-Identifier: Apache-2.0

package awssim

import "net/http"

const controlPath = "/_awssim/"

func (s *Server) controlHandler() http.Handler { return http.NewServeMux() }
