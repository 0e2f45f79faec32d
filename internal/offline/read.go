package offline

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	yaml "go.yaml.in/yaml/v3"
	utiljson "k8s.io/apimachinery/pkg/util/json"
	sigsyaml "sigs.k8s.io/yaml"
)

// Document is one object as it stands in a file.
type Document struct {
	// File as it was named; "-" for the standard input.
	File string
	// Offset is the number of lines of the file before the document.
	Offset int
	// Object as kubectl reads it.
	Object map[string]any
	// Node has the positions of its fields, relative to the document.
	Node *yaml.Node
}

// Source says where to read.
type Source struct {
	// Paths of files and folders; "-" reads Stdin.
	Paths []string
	// Recursive goes into folders of folders.
	Recursive bool
	// Stdin for the path "-".
	Stdin io.Reader
}

// Read gives every object in the files, in the order of the files. What cannot be read as YAML is a finding; an error means
// that a path could not be read at all.
func Read(src Source) ([]Document, []Finding, error) {
	var docs []Document
	var findings []Finding
	for _, path := range src.Paths {
		files, err := expand(path, src.Recursive)
		if err != nil {
			return nil, nil, err
		}
		for _, file := range files {
			raw, err := readFile(file, src.Stdin)
			if err != nil {
				return nil, nil, err
			}
			more, wrong := Parse(file, raw)
			docs, findings = append(docs, more...), append(findings, wrong...)
		}
	}
	return docs, sorted(findings), nil
}

func readFile(file string, stdin io.Reader) ([]byte, error) {
	if file != "-" {
		return os.ReadFile(file)
	}
	if stdin == nil {
		return nil, errors.New("-: there is no standard input")
	}
	return io.ReadAll(stdin)
}

// expand lists the files of a path, sorted: the file itself, or the YAML and JSON files of a folder.
func expand(path string, recursive bool) ([]string, error) {
	if path == "-" {
		return []string{path}, nil
	}
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.IsDir() {
		return []string{path}, nil
	}
	var files []string
	err = filepath.WalkDir(path, func(p string, e fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case e.IsDir() && p != path && !recursive:
			return filepath.SkipDir
		case !e.IsDir() && slices.Contains([]string{".yaml", ".yml", ".json"}, filepath.Ext(p)):
			files = append(files, p)
		}
		return nil
	})
	if err == nil && len(files) == 0 {
		err = fmt.Errorf("%s: no .yaml, .yml or .json file there; name a file, or use -R for folders in it", path)
	}
	slices.Sort(files)
	return files, err
}

// Parse reads one file: several documents, and lists as kubectl prints them.
func Parse(file string, raw []byte) ([]Document, []Finding) {
	var docs []Document
	var findings []Finding
	for _, part := range split(raw) {
		doc, wrong := parseDocument(file, part)
		if wrong != nil {
			findings = append(findings, *wrong)
			continue
		}
		if doc == nil || doc.Object["apiVersion"] == nil && doc.Object["kind"] == nil && len(doc.Object) == 0 {
			continue // comments only
		}
		more, bad := items(*doc)
		docs, findings = append(docs, more...), append(findings, bad...)
	}
	return docs, findings
}

// part of a file between document markers.
type part struct {
	text   []byte
	offset int
}

// split cuts a file at its document markers ("---" at the start of a line).
func split(raw []byte) []part {
	var parts []part
	current := part{}
	for i, line := range bytes.SplitAfter(raw, []byte("\n")) {
		if rest, ok := bytes.CutPrefix(line, []byte("---")); ok && (len(bytes.TrimSpace(rest)) == 0 || rest[0] == ' ' || rest[0] == '\t') {
			parts = append(parts, current)
			// What follows the marker on its line may be content; spaces keep its column.
			current = part{text: append([]byte("   "), rest...), offset: i}
			continue
		}
		current.text = append(current.text, line...)
	}
	return append(parts, current)
}

func parseDocument(file string, p part) (*Document, *Finding) {
	wrong := func(line int, message string) *Finding {
		return &Finding{File: file, Line: p.offset + line, Message: message, Reason: ReasonSchema}
	}
	var node yaml.Node
	if err := yaml.Unmarshal(p.text, &node); err != nil {
		line, message := yamlError(err)
		return nil, wrong(line, message)
	}
	if len(node.Content) == 0 {
		return nil, nil
	}
	// kubectl reads YAML 1.1 (a bare yes is true), so its reader decides what the text means; the node only says where.
	asJSON, err := sigsyaml.YAMLToJSONStrict(p.text)
	if err != nil {
		line, message := yamlError(err)
		return nil, wrong(line, message)
	}
	if bytes.Equal(bytes.TrimSpace(asJSON), []byte("null")) {
		return nil, nil
	}
	var object map[string]any
	if err := utiljson.Unmarshal(asJSON, &object); err != nil {
		return nil, wrong(node.Content[0].Line, "is no Kubernetes object; write a map with apiVersion, kind and metadata")
	}
	return &Document{File: file, Offset: p.offset, Object: object, Node: node.Content[0]}, nil
}

var yamlLine = regexp.MustCompile(`line (\d+): `)

// yamlError takes the line out of an error of the YAML reader.
func yamlError(err error) (int, string) {
	text := strings.TrimPrefix(strings.Join(strings.Fields(err.Error()), " "), "error converting YAML to JSON: ")
	line := 1
	if m := yamlLine.FindStringSubmatch(text); m != nil {
		line, _ = strconv.Atoi(m[1])
		text = strings.Replace(text, m[0], "", 1)
	}
	return line, text
}

// items opens a list (kind List, or a typed one such as CommunityList) into its objects.
func items(doc Document) ([]Document, []Finding) {
	kind, _ := doc.Object["kind"].(string)
	list, isList := doc.Object["items"].([]any)
	if !strings.HasSuffix(kind, "List") || !isList {
		return []Document{doc}, nil
	}
	var docs []Document
	var findings []Finding
	sequence := find(doc.Node, pathOf("items"))
	for i, item := range list {
		object, ok := item.(map[string]any)
		if !ok {
			findings = append(findings, Finding{
				File: doc.File, Line: doc.Offset + locate(doc.Node, pathOf("items").Index(i)), Message: "is no Kubernetes object; write a map with apiVersion, kind and metadata", Reason: ReasonSchema,
			})
			continue
		}
		docs = append(docs, Document{File: doc.File, Offset: doc.Offset, Object: object, Node: sequence.Content[i]})
	}
	return docs, findings
}
