// Package config holds the catalogue that a release ships as data: device profiles (物模型) and scenarios (场景). A platform
// enables them by name; adding one is a YAML file and no Go. The folders samples and crd beside it are not part of the
// catalogue.
package config

import "embed"

// Folders of FS. Each file holds one object of group dizuo.io without a namespace, and is named after the object.
const (
	// ProfilesDir holds DeviceProfiles.
	ProfilesDir = "profiles"
	// ScenariosDir holds Scenarios.
	ScenariosDir = "scenarios"
)

// FS holds the catalogue: ProfilesDir/<name>.yaml and ScenariosDir/<name>.yaml. The objects are as a person wrote them:
// apply the defaults of the schema before use.
//
//go:embed profiles/*.yaml scenarios/*.yaml
var FS embed.FS

// OneTable says which indicators the one table of communities (“一套表”) has; internal/node/grid reads it.
//
//go:embed reports/one-table.yaml
var OneTable []byte
