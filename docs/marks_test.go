package docs_test

import (
	"encoding/json"
	"errors"
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// The marks of the pages that say that nothing comes of a field.
const (
	noEffect    = "**No effect" // or "**No effect beyond that.**", of what admission alone looks at
	notServed   = "**Not served.**"
	neverFilled = "Never filled in this version."
	apiPackage  = "github.com/dizuo/dizuo/api/v1alpha1"
)

// usage says of fields of the API whether the code outside the API reads them, and whether it writes them.
type usage struct{ read, written map[*types.Var]bool }

// TestMarks holds the marks against the code. A field of a spec that no code reads, nor a column of kubectl get shows, says so on its page; one
// that says so is neither read nor shown. A field of a status that no code writes says so, and one that says so is written by none.
func TestMarks(t *testing.T) {
	api, used := checked(t)
	common := read(t, index)
	needed := map[string]bool{}
	for name, k := range kinds(t) {
		spec, status, _ := strings.Cut(k.page, "\n## Status\n")
		of := paths(api, name+"Spec")
		for path := range of {
			reads := slices.Contains(k.shown, ".spec."+path) || all(of, path, used.read)
			switch marked := under(spec, path, noEffect); {
			case marked != reads || under(spec, path, notServed):
			case excused(name+" spec."+path, needed):
			case marked:
				t.Errorf("%s: spec.%s is marked %q and is read by the code: say what it does", name, path, noEffect)
			default:
				t.Errorf("%s: spec.%s is read by no code: mark it %q, itself or what it stands in", name, path, noEffect)
			}
		}
		of = paths(api, name+"Status")
		for path := range of {
			writes := all(of, path, used.written)
			switch marked := under(status+common, path, neverFilled); {
			case marked != writes:
			case excused(name+" status."+path, needed):
			case marked:
				t.Errorf("%s: status.%s is marked %q and is written by the code: say what it shows", name, path, neverFilled)
			default:
				t.Errorf("%s: status.%s is written by no code: mark it %q", name, path, neverFilled)
			}
		}
	}
	for of := range otherwise {
		if !needed[of] {
			t.Errorf("%s needs no exception any more: take it out of the list", of)
		}
	}
}

// otherwise has fields, and all that stands in them, whose mark does not follow from the types of the code, with the reason.
var otherwise = map[string]string{
	"GridPlatform spec.deletionProtection":              "the admission policy of the Helm chart reads it",
	"GridPlatform status.bundle":                        "the publication writes it as JSON",
	"Organization status.approvers":                     "it is copied from the spec as it is",
	"Scenario spec.profileRef.schemaVersion":            "DeviceFleets have the same type and use it",
	"Scenario spec.commands[].profileRef.schemaVersion": "DeviceFleets have the same type and use it",
}

// excused says whether a field stands in the list of exceptions, and notes which entry was needed.
func excused(field string, needed map[string]bool) bool {
	for of := range otherwise {
		if rest, ok := strings.CutPrefix(field, of); ok && (rest == "" || rest[0] == '.' || rest[0] == '[') {
			needed[of] = true
			return true
		}
	}
	return false
}

// all says whether a field and everything that it stands in is used in a way: types are shared, and what is below an unread field is not read.
func all(of map[string]*types.Var, path string, used map[*types.Var]bool) bool {
	for ; path != ""; path = parent(path) {
		if v := of[path]; v != nil && !used[v] {
			return false
		}
	}
	return true
}

// parent gives the path of what a field stands in; empty for a field that stands in nothing.
func parent(path string) string {
	return strings.TrimSuffix(path[:max(0, strings.LastIndex(path, "."))], "[]")
}

// under says whether the row of a field, or of something that the field stands in, has the mark.
func under(text, path, mark string) bool {
	for ; path != ""; path = parent(path) {
		if _, line, found := strings.Cut(text, "\n| `"+path+"` | "); found {
			if line, _, _ = strings.Cut(line, "\n"); strings.Contains(line, mark) {
				return true
			}
		}
	}
	return false
}

// paths gives the fields of a struct of the API and of the structs in it, by the path that the pages write.
func paths(api *types.Package, name string) map[string]*types.Var {
	out := map[string]*types.Var{}
	var walk func(prefix string, s *types.Struct)
	walk = func(prefix string, s *types.Struct) {
		for i := range s.NumFields() {
			tag, _, _ := strings.Cut(reflect.StructTag(s.Tag(i)).Get("json"), ",")
			path := prefix + tag
			if tag != "" {
				out[path] = s.Field(i)
				path += "."
			}
			if below, list := inner(api, s.Field(i).Type()); below != nil {
				if list {
					path = strings.TrimSuffix(path, ".") + "[]."
				}
				walk(path, below)
			}
		}
	}
	walk("", api.Scope().Lookup(name).Type().Underlying().(*types.Struct))
	return out
}

// inner gives the struct of the API that a field holds, if it does, and whether it holds a list of it.
func inner(api *types.Package, t types.Type) (s *types.Struct, list bool) {
	for {
		switch u := types.Unalias(t).(type) {
		case *types.Pointer:
			t = u.Elem()
		case *types.Slice:
			t, list = u.Elem(), true
		case *types.Named:
			if s, ok := u.Underlying().(*types.Struct); ok && u.Obj().Pkg() == api {
				return s, list
			}
			if _, ok := u.Underlying().(*types.Slice); !ok {
				return nil, false
			}
			t = u.Underlying()
		default:
			return nil, false
		}
	}
}

// checked type-checks the code that uses the API, from the compiler's own export data, and gives the API's package with what is done with its fields.
func checked(t *testing.T) (*types.Package, usage) {
	t.Helper()
	cmd := exec.Command("go", "list", "-export", "-deps", "-json=ImportPath,Dir,Export,GoFiles,Deps,Module", "./api/...", "./cmd/...", "./controllers/...", "./internal/...")
	cmd.Dir, cmd.Stderr = "..", os.Stderr
	raw, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	type listed struct {
		ImportPath, Dir, Export string
		GoFiles, Deps           []string
		Module                  *struct{ Main bool }
	}
	var ours []listed
	exports := map[string]string{}
	for d := json.NewDecoder(strings.NewReader(string(raw))); ; {
		var p listed
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		exports[p.ImportPath] = p.Export
		if p.Module != nil && p.Module.Main && p.ImportPath != apiPackage {
			ours = append(ours, p)
		}
	}
	files := token.NewFileSet()
	compiled := importer.ForCompiler(files, "gc", func(path string) (io.ReadCloser, error) { return os.Open(exports[path]) })
	api, err := compiled.Import(apiPackage)
	if err != nil {
		t.Fatal(err)
	}
	used := usage{read: map[*types.Var]bool{}, written: map[*types.Var]bool{}}
	for _, p := range ours {
		var parsed []*ast.File
		for _, name := range p.GoFiles {
			file, err := parser.ParseFile(files, filepath.Join(p.Dir, name), nil, parser.SkipObjectResolution)
			if err != nil {
				t.Fatal(err)
			}
			parsed = append(parsed, file)
		}
		info := &types.Info{Uses: map[*ast.Ident]types.Object{}, Types: map[ast.Expr]types.TypeAndValue{}}
		if _, err := (&types.Config{Importer: compiled}).Check(p.ImportPath, files, parsed, info); err != nil {
			t.Fatal(err)
		}
		for _, file := range parsed {
			used.count(api, info, file)
		}
	}
	return api, used
}

// count adds what a file does with the fields of the API.
func (u usage) count(api *types.Package, info *types.Info, file *ast.File) {
	written := map[*ast.Ident]bool{}
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.CompositeLit:
			for _, e := range n.Elts {
				if pair, ok := e.(*ast.KeyValueExpr); ok {
					if key, ok := pair.Key.(*ast.Ident); ok {
						written[key] = true
					}
				}
			}
		case *ast.AssignStmt:
			for _, left := range n.Lhs {
				if s, ok := left.(*ast.SelectorExpr); ok {
					written[s.Sel] = true
				}
			}
		case *ast.IncDecStmt:
			if s, ok := n.X.(*ast.SelectorExpr); ok {
				written[s.Sel] = true
			}
		case *ast.Ident:
			if v, ok := info.Uses[n].(*types.Var); ok && v.IsField() && v.Pkg() == api {
				if written[n] {
					u.written[v] = true
				} else {
					u.read[v] = true
				}
			}
		}
		return true
	})
}
