// Package crd holds the CustomResourceDefinitions of the API, as controller-gen makes them from api/v1alpha1.
package crd

import "embed"

// FS holds one YAML file per kind, named dizuo.io_<plural>.yaml.
//
//go:embed *.yaml
var FS embed.FS
