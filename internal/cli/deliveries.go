package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"github.com/dizuo/dizuo/pkg/client/grid"
)

// errNoJSON says that the grid service answered something else than its document says.
var errNoJSON = errors.New("the service's answer is no JSON; is --server the address of a grid service?")

// deliveryWords in English and Chinese.
var deliveryWords = map[string][2]string{
	"head": {"ID|ORGANIZATION|TYPE|BY|STATE|ATTEMPTS|CREATED|LAST ERROR", "编号|组织|类型|方式|状态|次数|生成时间|最近错误"},
	"dead": {"dead", "死信"}, "delivered": {"delivered", "已送达"}, "pending": {"pending", "待送达"},
	"replayed": {"%d messages are tried again; %d are dead still", "%d 条重新投递；仍有 %d 条死信"}, "one": {"message %s is tried again", "消息 %s 重新投递"},
}

func (a *app) deliveriesCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "deliveries", Short: "Messages to organizations: list them, and replay dead letters (死信)",
		Long: `List the messages about cases that the platform sends to an organization's system, and have those sent anew that were tried for a day in vain. It takes a
person in role Dispatcher (or, to list, Auditor) of the organization; those of a data office (数据局) may do so for all.`}
	cmd.AddCommand(a.deliveryListCommand(), a.deliveryReplayCommand())
	return cmd
}

func (a *app) deliveryListCommand() *cobra.Command {
	var f gridFlags
	var o caseOutput
	var state, of string
	var limit int
	cmd := &cobra.Command{
		Use: "list", Short: "List messages, newest first", Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			w, err := a.caseWords(&o)
			if err != nil {
				return err
			}
			client, err := a.gridClient(cmd.Context(), &f)
			if err != nil {
				return err
			}
			list, err := listDeliveries(cmd.Context(), client, state, of, limit)
			if err != nil {
				return denied(err)
			}
			return a.printDeliveries(o.format, w, list)
		},
	}
	f.add(cmd)
	o.add(cmd)
	cmd.Flags().StringVar(&state, "state", "", "only messages in this state: pending, delivered or dead")
	cmd.Flags().StringVar(&of, "of", "", "only messages to this Organization; another than one's own takes a data office (--organization is the one that vouches for you)")
	cmd.Flags().IntVar(&limit, "limit", 50, "at most so many")
	complete(cmd, map[string][]string{"state": {"pending", "delivered", "dead"}})
	return cmd
}

func (a *app) deliveryReplayCommand() *cobra.Command {
	var f gridFlags
	var o caseOutput
	var of string
	var all bool
	cmd := &cobra.Command{
		Use: "replay (ID | --all)", Short: "Try a dead letter, or all of an organization, for another day", Args: cobra.MaximumNArgs(1), ValidArgsFunction: a.deadLetters(&f),
		Long: `Have dead letters sent anew, for a day, under their ids: a receiver that took one knows it. --all takes the oldest first, up to 1,000 at once, until none is left.`,
		Example: `  dizuo deliveries list --state dead
  dizuo deliveries replay --all`,
		RunE: func(cmd *cobra.Command, args []string) error {
			w, err := a.caseWords(&o)
			if err != nil {
				return err
			}
			if all == (len(args) == 1) {
				return usage("deliveries replay: write the id of a dead letter, or --all")
			}
			if of != "" && !all {
				return usage("--of is for --all; an id says whose it is")
			}
			if all {
				return a.replayAll(cmd.Context(), &f, of, o.format, w)
			}
			return a.replayOne(cmd.Context(), &f, args[0], o.format, w)
		},
	}
	f.add(cmd)
	o.add(cmd)
	cmd.Flags().BoolVar(&all, "all", false, "every dead letter of the organization")
	cmd.Flags().StringVar(&of, "of", "", "with --all: of this Organization; another than one's own takes a data office")
	return cmd
}

// gridClient reaches the grid service by the generated client.
func (a *app) gridClient(ctx context.Context, f *gridFlags) (*grid.ClientWithResponses, error) {
	s, err := a.grid(ctx, f)
	if err != nil {
		return nil, err
	}
	return s.grid()
}

// listDeliveries follows pages up to the limit.
func listDeliveries(ctx context.Context, client *grid.ClientWithResponses, state, of string, limit int) ([]grid.Delivery, error) {
	list := []grid.Delivery{}
	asked := grid.ListDeliveriesParams{State: given(grid.ListDeliveriesParamsState(state)), Organization: given(of)}
	for len(list) < limit {
		asked.Limit = given(int64(min(limit-len(list), 500)))
		answer, err := client.ListDeliveriesWithResponse(ctx, &asked)
		if err != nil {
			return nil, err
		}
		if answer.JSON200 == nil {
			return nil, errNoJSON
		}
		list = append(list, answer.JSON200.Deliveries...)
		if text(answer.JSON200.Next) == "" {
			break
		}
		asked.Cursor = answer.JSON200.Next
	}
	return list, nil
}

func deliveryState(d grid.Delivery) string {
	switch {
	case d.DeliveredAt != nil:
		return "delivered"
	case d.DeadAt != nil:
		return "dead"
	}
	return "pending"
}

func (a *app) printDeliveries(format string, w words, list []grid.Delivery) error {
	if printed, err := printAs(a.Out, format, list); printed {
		return err
	}
	rows := [][]string{strings.Split(w.of(deliveryWords, "head"), "|")}
	for _, d := range list {
		rows = append(rows, []string{d.ID.String(), d.Organization, dash(text(d.Type)), string(d.Method), w.of(deliveryWords, deliveryState(d)), fmt.Sprint(d.Attempts), clock(d.CreatedAt), dash(text(d.LastError))})
	}
	columns, _ := terminal(a.Out)
	return table(a.Out, fitted(rows, columns, 7, 3, 5, 6))
}

func (a *app) replayOne(ctx context.Context, f *gridFlags, id, format string, w words) error {
	message, err := uuid.Parse(id)
	if err != nil {
		return usage("%q is no id of a message; `dizuo deliveries list --state dead` has those that are dead", id)
	}
	client, err := a.gridClient(ctx, f)
	if err != nil {
		return err
	}
	answer, err := client.ReplayDeliveryWithResponse(ctx, message)
	if err != nil {
		return denied(err)
	}
	if answer.JSON200 == nil {
		return errNoJSON
	}
	if printed, err := printAs(a.Out, format, answer.JSON200); printed {
		return err
	}
	_, err = fmt.Fprintf(a.Out, w.of(deliveryWords, "one")+"\n", answer.JSON200.ID)
	return err
}

// replayAll asks until none is dead, or one more request would do nothing: a letter may die again meanwhile.
func (a *app) replayAll(ctx context.Context, f *gridFlags, of, format string, w words) error {
	client, err := a.gridClient(ctx, f)
	if err != nil {
		return err
	}
	var sum grid.Replayed
	for {
		answer, err := client.ReplayDeliveriesWithResponse(ctx, &grid.ReplayDeliveriesParams{Organization: given(of)})
		if err != nil {
			return denied(err)
		}
		if answer.JSON200 == nil {
			return errNoJSON
		}
		sum.Replayed, sum.Left = sum.Replayed+answer.JSON200.Replayed, answer.JSON200.Left
		if answer.JSON200.Replayed == 0 || sum.Left == 0 {
			break
		}
	}
	if printed, err := printAs(a.Out, format, sum); printed {
		return err
	}
	_, err = fmt.Fprintf(a.Out, w.of(deliveryWords, "replayed")+"\n", sum.Replayed, sum.Left)
	return err
}

// deadLetters completes the id of a dead letter, if the flags so far reach the service.
func (a *app) deadLetters(f *gridFlags) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		ctx, cancel := context.WithTimeout(cmd.Context(), completionTime)
		defer cancel()
		var ids []string
		if client, err := a.gridClient(ctx, f); err == nil {
			list, _ := listDeliveries(ctx, client, "dead", "", 100)
			for _, d := range list {
				ids = append(ids, cobra.CompletionWithDesc(d.ID.String(), d.Organization+" "+text(d.Type)))
			}
		}
		return ids, cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveKeepOrder
	}
}
