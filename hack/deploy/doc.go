// SPDX-License-Identifier: Apache-2.0

// Package deploy tests what others deploy the operator with: the health checks, the order of deletion and the
// samples for Argo CD in config/argocd, and the CloudFormation template and Terraform module in config/aws. It is a
// module of its own for the sake of the interpreters of Lua, HCL and CloudFormation, which the operator does not need.
package deploy
