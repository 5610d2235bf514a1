//go:build tools

// Package tools pins the kube-apiserver that manifests of examples/ are tried on.
package tools

import _ "k8s.io/kubernetes/cmd/kube-apiserver"
