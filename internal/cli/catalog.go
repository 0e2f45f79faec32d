package cli

import (
	"cmp"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/dizuo/dizuo/internal/access"
)

func (a *app) catalogCommand() *cobra.Command {
	var f accessFlags
	cmd := &cobra.Command{
		Use:   "catalog (-f PATH | --cluster -n NAMESPACE)",
		Short: "Print the sharing list (信息共享清单)",
		Long: `Print the sharing list (信息共享清单): each item with its code, provider, the one writer, fields, grade, class, sharing attribute, the
organisations that read it under agreements in force, and the freshness that is promised.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := f.checkLang(); err != nil {
				return err
			}
			sides, err := a.sidesOf(cmd.Context(), &f)
			if err != nil {
				return err
			}
			items := []access.Item{}
			for _, s := range sides {
				items = append(items, access.Catalog(s)...)
			}
			return a.printRows(items, catalogRows(items, f.lang, f.format == "csv"), f.format)
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

var sharingWords = map[string]string{"Unconditional": "无条件共享", "Conditional": "有条件共享", "None": "不予共享"}

// catalogRows gives the list as rows; a table tells how many fields there are, CSV which.
func catalogRows(items []access.Item, lang string, whole bool) [][]string {
	rows, empty := [][]string{catalogHeads[lang]}, dash
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
		rows = append(rows, []string{
			i.Item, empty(i.Code), i.Provider, i.Writer, sharing, i.Class, i.Grade, empty(strings.Join(i.Consumers, " ")), empty(i.MaxAge), fields,
		})
	}
	return rows
}
