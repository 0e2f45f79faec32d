package cli

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/dizuo/dizuo/api/v1alpha1"
	"github.com/dizuo/dizuo/internal/access"
)

func (a *app) catalogCommand() *cobra.Command {
	var f accessFlags
	cmd := &cobra.Command{
		Use:   "catalog (-f PATH | --cluster -n NAMESPACE)",
		Short: "Print the sharing list (信息共享清单)",
		Long: `Print the sharing list (信息共享清单): each item with its code, provider, the one writer, fields, grade, class, sharing attribute, the
organisations that read it under agreements in force, and the freshness that is promised. With --cluster also the quality that was measured
beside what is promised, in percent: complete, accurate, timely; - where nothing was.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := f.checkLang(); err != nil {
				return err
			}
			sides, err := a.sidesOf(cmd.Context(), &f)
			if err != nil {
				return err
			}
			if f.cluster {
				if err := measure(cmd.Context(), &f.kube, sides); err != nil {
					return err
				}
			}
			items := []access.Item{}
			for _, s := range sides {
				items = append(items, access.Catalog(s)...)
			}
			return a.printRows(items, catalogRows(items, f.lang, f.format == "csv", f.cluster), f.format)
		},
	}
	f.add(cmd)
	f.addLang(cmd)
	cmd.Flags().StringVarP(&f.format, "output", "o", "table", "table, csv, json or yaml")
	return cmd
}

var catalogHeads = map[string][]string{
	access.English: {"ITEM", "CODE", "PROVIDER", "WRITER", "SHARING", "CLASS", "GRADE", "CONSUMERS", "MAX AGE", "FIELDS"},
	access.Chinese: {"信息项", "编码", "提供方", "唯一来源", "共享属性", "数据类", "分级", "使用方", "更新时限", "字段"},
}

var qualityHeads = map[string][]string{access.English: {"COMPLETE", "ACCURATE", "TIMELY"}, access.Chinese: {"完整性", "准确性", "及时性"}}

// qualityCells gives what was measured over what is promised, in percent.
func qualityCells(i access.Item) []string {
	expected, measured := v1alpha1.QualityExpectation{}, v1alpha1.QualityMeasured{}
	if i.Expected != nil {
		expected = *i.Expected
	}
	if i.Measured != nil {
		measured = *i.Measured
	}
	cell := func(is, promised *int32) string {
		switch {
		case is == nil && promised == nil:
			return "-"
		case is == nil:
			return fmt.Sprintf("- / %d", *promised)
		case promised == nil:
			return fmt.Sprint(*is)
		}
		return fmt.Sprintf("%d / %d", *is, *promised)
	}
	return []string{
		cell(measured.CompletenessPercent, expected.CompletenessPercent), cell(measured.AccuracyPercent, expected.AccuracyPercent),
		cell(measured.TimelinessPercent, expected.TimelinessPercent),
	}
}

var sharingWords = map[string]string{"Unconditional": "无条件共享", "Conditional": "有条件共享", "None": "不予共享"}

// catalogRows gives the list as rows; a table tells how many fields there are, CSV which.
// Of a cluster there is what was measured.
func catalogRows(items []access.Item, lang string, whole, measured bool) [][]string {
	rows, empty := [][]string{slices.Clone(catalogHeads[lang])}, dash
	if measured {
		rows[0] = append(rows[0], qualityHeads[lang]...)
	}
	if whole {
		empty = func(s string) string { return s }
	}
	for _, i := range items {
		sharing := i.Sharing
		if lang == access.Chinese {
			sharing = cmp.Or(sharingWords[sharing], sharing)
		}
		fields := fmt.Sprint(len(i.Fields))
		if whole {
			var names []string
			for _, f := range i.Fields {
				name := f.Name
				if lang == access.Chinese {
					name = cmp.Or(f.Display, name)
				}
				names = append(names, name)
			}
			fields = strings.Join(names, " ")
		}
		row := []string{
			i.Item, empty(i.Code), i.Provider, i.Writer, sharing, i.Class, i.Grade, empty(strings.Join(i.Consumers, " ")), empty(access.Age(i.MaxAge)), fields,
		}
		if measured {
			row = append(row, qualityCells(i)...)
		}
		rows = append(rows, row)
	}
	return rows
}
