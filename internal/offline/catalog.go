package offline

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"sync"

	"github.com/dizuo/dizuo/api/v1alpha1"
	"github.com/dizuo/dizuo/config"
	"github.com/dizuo/dizuo/internal/compile"
)

// catalogNamespace stands in while the catalogue is checked: its objects belong to no namespace.
const catalogNamespace = "catalogue"

var catalog = sync.OnceValues(func() (compile.Catalog, error) { return readCatalog(config.FS) })

// Catalog gives the profiles and scenarios that the release ships, defaulted and checked. The objects are shared: treat them
// as read-only. An error means that the release is broken.
func Catalog() (compile.Catalog, error) { return catalog() }

func readCatalog(files fs.FS) (compile.Catalog, error) {
	out := compile.Catalog{Profiles: map[string]*v1alpha1.DeviceProfile{}, Scenarios: map[string]*v1alpha1.Scenario{}}
	set := &Set{}
	for _, dir := range []string{config.ProfilesDir, config.ScenariosDir} {
		paths, err := fs.Glob(files, dir+"/*.yaml")
		if err != nil {
			return out, err
		}
		for _, path := range paths {
			raw, err := fs.ReadFile(files, path)
			if err != nil {
				return out, err
			}
			docs, findings := Parse(path, raw)
			set.Findings = append(set.Findings, findings...)
			for _, doc := range docs {
				if err := set.add(context.Background(), doc, catalogNamespace); err != nil {
					return out, err
				}
			}
		}
	}
	set.duplicates()
	if len(set.Findings) > 0 {
		var errs []error
		for _, f := range sorted(set.Findings) {
			errs = append(errs, errors.New(f.String()))
		}
		return out, fmt.Errorf("catalogue: %w", errors.Join(errs...))
	}
	for _, o := range set.Objects {
		o.SetNamespace("")
		switch typed := o.Object.(type) {
		case *v1alpha1.DeviceProfile:
			out.Profiles[typed.Name] = typed
		case *v1alpha1.Scenario:
			out.Scenarios[typed.Name] = typed
		}
	}
	return out, nil
}
