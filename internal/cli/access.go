package cli

import (
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/dizuo/dizuo/api/v1alpha1"
	"github.com/dizuo/dizuo/internal/access"
	"github.com/dizuo/dizuo/internal/offline"
)

// ExitWider is the exit code of access diff when access widens, or may.
const ExitWider = 2

// accessFlags say from where access is read: from files or from a cluster.
type accessFlags struct {
	files   fileFlags
	kube    kubeFlags
	cluster bool
	format  string
	lang    string
}

func (f *accessFlags) add(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringArrayVarP(&f.files.paths, "filename", "f", nil, "file or folder with YAML or JSON; - for standard input; may be repeated")
	flags.BoolVarP(&f.files.recursive, "recursive", "R", false, "go into folders of folders")
	flags.StringVarP(&f.files.namespace, "namespace", "n", "default", "namespace of objects that name none; with --cluster: the platform's")
	flags.BoolVar(&f.cluster, "cluster", false, "read the namespace from the cluster")
	f.kube.add(cmd)
	f.files.addImages(cmd)
	cmd.MarkFlagsMutuallyExclusive("filename", "cluster")
	cmd.MarkFlagsOneRequired("filename", "cluster")
}

func (f *accessFlags) addLang(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.lang, "lang", access.English, "language of what is said: en or zh")
}

func (f *accessFlags) checkLang() error {
	if f.lang != access.English && f.lang != access.Chinese {
		return usage("--lang %s: write en or zh", f.lang)
	}
	return nil
}

// sidesOf reads and compiles what the flags name. Problems of files go to standard error: what does not compile gives no access.
func (a *app) sidesOf(ctx context.Context, f *accessFlags) ([]access.Side, error) {
	if !f.cluster {
		_, result, err := a.compile(ctx, &f.files)
		if err != nil {
			return nil, err
		}
		printFindings(a.Err, result.Findings)
		return needPlatform(access.Sides(result))
	}
	namespace := map[string]any{"apiVersion": "v1", "kind": "Namespace", "metadata": map[string]any{"name": f.files.namespace}}
	home, err := offline.LoadObjects(ctx, []map[string]any{namespace})
	if err != nil {
		return nil, err
	}
	set, err := a.live(ctx, &f.kube, home)
	if err != nil {
		return nil, err
	}
	options, err := a.options(&f.files)
	if err != nil {
		return nil, err
	}
	result, err := offline.Compile(ctx, set, options)
	if err != nil {
		return nil, err
	}
	return needPlatform(access.Sides(result))
}

// measure puts what the gateways measured of datasets into sides: what is compiled has no status.
func measure(ctx context.Context, f *kubeFlags, sides []access.Side) error {
	c, _, err := f.connect()
	if err != nil {
		return err
	}
	for _, s := range sides {
		read := map[string]bool{}
		for _, d := range s.Datasets {
			if read[d.Namespace] {
				continue
			}
			read[d.Namespace] = true
			var list v1alpha1.DatasetList
			if err := c.List(ctx, &list, client.InNamespace(d.Namespace)); err != nil {
				return fmt.Errorf("datasets of namespace %s: %w", d.Namespace, err)
			}
			for _, found := range list.Items {
				if known := s.Datasets[found.Name]; known != nil && known.Namespace == found.Namespace {
					known.Status.Quality = found.Status.Quality
				}
			}
		}
	}
	return nil
}

func needPlatform(sides []access.Side) ([]access.Side, error) {
	if len(sides) == 0 {
		return nil, errors.New("there is no GridPlatform: agreements are of a platform; give its files too")
	}
	return sides, nil
}

func (a *app) accessCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "access", Short: "Who may read what, and what a change opens"}
	cmd.AddCommand(a.accessCheckCommand(), a.accessDiffCommand(), a.accessMatrixCommand())
	return cmd
}

func (a *app) accessMatrixCommand() *cobra.Command {
	var f accessFlags
	var by string
	cmd := &cobra.Command{
		Use:   "matrix (-f PATH | --cluster -n NAMESPACE)",
		Short: "Print which organisation sees which field, masked how, where",
		Long: `Print which organisation sees which field, masked how, where. -o html writes one file without scripts, to be printed or handed on:
  dizuo access matrix -f DIR -o html --lang zh >matrix.html`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := f.checkLang(); err != nil {
				return err
			}
			sides, err := a.sidesOf(cmd.Context(), &f)
			if err != nil {
				return err
			}
			cells := []access.Cell{}
			for _, s := range sides {
				cells = append(cells, access.Matrix(s)...)
			}
			switch {
			case f.format == "html":
				return access.WriteHTML(a.Out, cells, f.lang, a.now())
			case by == "field":
				return a.printCells(cells, f.format, f.lang)
			case by == "class":
				return a.printClasses(access.ByClass(cells), f.format, f.lang)
			}
			return usage("--by %s: write field or class", by)
		},
	}
	f.add(cmd)
	f.addLang(cmd)
	cmd.Flags().StringVar(&by, "by", "field", "a line for each field, or for each data class of a dataset: field or class")
	cmd.Flags().StringVarP(&f.format, "output", "o", "table", "table, csv, html, json or yaml")
	return cmd
}

// matrixHeads and classHeads by language. Those of the matrix behind the eighth are in CSV only.
var matrixHeads = map[string][]string{
	access.English: {"DATASET", "FIELD", "CLASS", "CONSUMER", "SHOWN", "COMMUNITIES", "PURPOSES", "AGREEMENT", "ROLES", "ROWS", "HOURS", "CASE"},
	access.Chinese: {"数据集", "字段", "数据类", "使用方", "提供方式", "社区", "用途", "协议", "人员角色", "行条件", "时段", "事件条件"},
}

var classHeads = map[string][]string{
	access.English: {"CONSUMER", "DATASET", "CLASS", "FIELDS", "AGREEMENT"},
	access.Chinese: {"使用方", "数据集", "数据类", "字段", "协议"},
}

func (a *app) printCells(cells []access.Cell, format, lang string) error {
	const inTable = 8
	rows := [][]string{matrixHeads[lang]}
	for _, c := range cells {
		rows = append(rows, []string{
			c.Dataset, c.Field, c.Class, c.Consumer, access.Shown(lang, c.Shown), strings.Join(c.Communities, " "), strings.Join(c.Purposes, " "), c.Agreement,
			strings.Join(c.Roles, " "), strings.Join(c.Rows, "; "), c.Hours, c.Case,
		})
	}
	if format != "csv" {
		for i := range rows {
			rows[i] = rows[i][:inTable]
		}
	}
	if format != "" && !slices.Contains([]string{"table", "csv", "json", "yaml"}, format) {
		return usage("-o %s: write table, csv, html, json or yaml", format)
	}
	return a.printRows(cells, rows, format)
}

func (a *app) printClasses(cells []access.ClassCell, format, lang string) error {
	rows := [][]string{classHeads[lang]}
	for _, c := range cells {
		rows = append(rows, []string{c.Consumer, c.Dataset, c.Class, strings.Join(c.Fields, " "), c.Agreement})
	}
	return a.printRows(cells, rows, format)
}

// printRows prints a value as JSON or YAML, or its rows as CSV or as a table, which is cut to fit where it goes to a terminal.
func (a *app) printRows(v any, rows [][]string, format string) error {
	switch format {
	case "csv":
		return writeCSV(a.Out, rows)
	case "table", "":
		if columns, ok := terminal(a.Out); ok && columns > 0 {
			rows = fit(rows, columns)
		}
		return table(a.Out, rows)
	case "json", "yaml":
		_, err := printAs(a.Out, format, v)
		return err
	}
	return usage("-o %s: write table, csv, json or yaml", format)
}

// writeCSV writes rows so that a spreadsheet takes none of them for a formula.
func writeCSV(w io.Writer, rows [][]string) error {
	c := csv.NewWriter(w)
	for _, row := range rows {
		row = slices.Clone(row)
		for i, cell := range row {
			if strings.IndexAny(cell, "=+-@\t\r") == 0 {
				row[i] = "'" + cell
			}
		}
		if err := c.Write(row); err != nil {
			return err
		}
	}
	c.Flush()
	return c.Error()
}

// fit shortens the widest columns until a table has at most so many places. -o csv and -o json have all.
func fit(rows [][]string, columns int) [][]string {
	const least, gap = 8, 3
	var widths []int
	for _, row := range rows {
		for i, cell := range row {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], wide.StringWidth(cell))
		}
	}
	total := func() (sum int) {
		for _, w := range widths {
			sum += w + gap
		}
		return sum - gap
	}
	for total() > columns {
		widest := slices.Index(widths, slices.Max(widths))
		if widths[widest] <= least {
			break
		}
		widths[widest]--
	}
	out := make([][]string, len(rows))
	for i, row := range rows {
		for j, cell := range row {
			out[i] = append(out[i], shorten(cell, widths[j]))
		}
	}
	return out
}

func shorten(cell string, width int) string {
	if wide.StringWidth(cell) <= width {
		return cell
	}
	return wide.Truncate(cell, width, "…")
}
