package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/spf13/cobra"
)

// DeviceCommand is a command of the grid service, as far as a list shows it.
type DeviceCommand struct {
	ID           string         `json:"id"`
	Fleet        string         `json:"fleet"`
	Device       string         `json:"device"`
	Command      string         `json:"command"`
	Arguments    map[string]any `json:"arguments"`
	Sender       string         `json:"sender"`
	Organization string         `json:"organization,omitempty"`
	State        string         `json:"state"`
	Reason       string         `json:"reason,omitempty"`
	Detail       string         `json:"detail,omitempty"`
	CreatedAt    time.Time      `json:"createdAt"`
	ExpiresAt    time.Time      `json:"expiresAt"`
	Sent         int            `json:"sent"`
	// History of one command.
	History []CaseStep `json:"history,omitempty"`
}

type commandPage struct {
	Commands []json.RawMessage `json:"commands"`
	Next     string            `json:"next"`
}

func (a *app) deviceCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "device",
		Short: "Tell a device something, see what became of it, and what it is to keep",
		Long: `Send commands (指令) to devices and set their desired state (期望状态) over the REST API of the grid service. Only what the device's
profile declares leaves, in its ranges, from who may send it: a person of the community's jurisdiction, or a Technician of the fleet's vendor.`,
	}
	command := &cobra.Command{Use: "command", Short: "Commands to devices (指令)"}
	command.AddCommand(a.commandSendCommand(), a.commandListCommand(), a.commandShowCommand(), a.commandWithdrawCommand())
	desired := &cobra.Command{Use: "desired", Short: "What a device is to keep (期望状态): sent now, and whenever it comes back"}
	desired.AddCommand(a.desiredShowCommand(), a.desiredSetCommand(), a.desiredDropCommand())
	cmd.AddCommand(command, desired)
	return cmd
}

// gridCall makes a subcommand that asks the grid service once and prints the answer.
func (a *app) gridCall(use, short string, args cobra.PositionalArgs, show func(format string, raw json.RawMessage) error,
	request func(args []string) (method, path string, body any, err error)) *cobra.Command {
	var f gridFlags
	var format string
	cmd := &cobra.Command{
		Use: use, Short: short, Args: args,
		RunE: func(cmd *cobra.Command, args []string) error {
			method, path, body, err := request(args)
			if err != nil {
				return err
			}
			s, err := a.grid(cmd.Context(), &f)
			if err != nil {
				return err
			}
			if key := cmd.Flags().Lookup("idempotency-key"); key != nil {
				s.header.Set("Idempotency-Key", key.Value.String())
			}
			var raw json.RawMessage
			if err := s.call(cmd.Context(), method, path, nil, body, &raw); err != nil {
				return err
			}
			return show(format, raw)
		},
	}
	f.add(cmd)
	cmd.Flags().StringVarP(&format, "output", "o", "", "json or yaml")
	return cmd
}

// arguments reads name=value. A value that is JSON is taken as such, so that 3 is a number and true is true; anything else is text.
func arguments(pairs []string) (map[string]any, error) {
	out := map[string]any{}
	for _, p := range pairs {
		name, text, ok := strings.Cut(p, "=")
		if !ok || name == "" {
			return nil, usage("--arg %q: write name=value, such as hold=true", p)
		}
		if _, twice := out[name]; twice {
			return nil, usage("--arg %s is given twice", name)
		}
		d := json.NewDecoder(strings.NewReader(text))
		d.UseNumber()
		var v any
		if err := d.Decode(&v); err != nil || d.More() {
			v = text
		}
		out[name] = v
	}
	return out, nil
}

func (a *app) commandSendCommand() *cobra.Command {
	var pairs []string
	cmd := a.gridCall("send FLEET.DEVICE COMMAND [--arg name=value]...", "Send a command; it is sent again until the device acknowledges it or it expires", cobra.ExactArgs(2), a.printCommand,
		func(args []string) (string, string, any, error) {
			values, err := arguments(pairs)
			return http.MethodPost, "/v1/devices/" + url.PathEscape(args[0]) + "/commands", map[string]any{"command": args[1], "arguments": values}, err
		})
	cmd.Flags().StringArrayVar(&pairs, "arg", nil, "an argument as name=value, such as minutes=5; text that looks like a number in quotes: note='\"5\"'")
	cmd.Flags().String("idempotency-key", uuid.NewString(), "the same key gives the same command, so a script may try again")
	cmd.Flags().Lookup("idempotency-key").DefValue = "a random one"
	return cmd
}

func (a *app) commandListCommand() *cobra.Command {
	var f gridFlags
	var state, format string
	var limit int
	cmd := &cobra.Command{
		Use: "list FLEET.DEVICE", Short: "List the commands to a device, newest first", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			s, err := a.grid(cmd.Context(), &f)
			if err != nil {
				return err
			}
			query := url.Values{}
			if state != "" {
				query.Set("state", state)
			}
			list := []json.RawMessage{}
			for len(list) < limit {
				query.Set("limit", strconv.Itoa(min(limit-len(list), 500)))
				var page commandPage
				if err := s.call(cmd.Context(), http.MethodGet, "/v1/devices/"+url.PathEscape(args[0])+"/commands", query, nil, &page); err != nil {
					return err
				}
				list = append(list, page.Commands...)
				if page.Next == "" {
					break
				}
				query.Set("cursor", page.Next)
			}
			return a.printCommands(format, list)
		},
	}
	f.add(cmd)
	cmd.Flags().StringVar(&state, "state", "", "only commands in this state, such as Pending")
	cmd.Flags().IntVar(&limit, "limit", 50, "at most so many")
	cmd.Flags().StringVarP(&format, "output", "o", "", "json or yaml")
	return cmd
}

func (a *app) commandShowCommand() *cobra.Command {
	return a.gridCall("show ID", "Show one command with its history", cobra.ExactArgs(1), a.printCommand, func(args []string) (string, string, any, error) {
		return http.MethodGet, "/v1/commands/" + url.PathEscape(args[0]), nil, nil
	})
}

func (a *app) commandWithdrawCommand() *cobra.Command {
	return a.gridCall("withdraw ID", "Take a command back; the safe state is sent, if the profile has one", cobra.ExactArgs(1), a.printCommand, func(args []string) (string, string, any, error) {
		return http.MethodPost, "/v1/commands/" + url.PathEscape(args[0]) + "/withdraw", nil, nil
	})
}

func (a *app) desiredShowCommand() *cobra.Command {
	return a.gridCall("show FLEET.DEVICE", "Show what a device is to keep, and what it says of it", cobra.ExactArgs(1), a.printDesired, func(args []string) (string, string, any, error) {
		return http.MethodGet, "/v1/devices/" + url.PathEscape(args[0]) + "/desired", nil, nil
	})
}

func (a *app) desiredSetCommand() *cobra.Command {
	var pairs []string
	cmd := a.gridCall("set FLEET.DEVICE COMMAND [--arg name=value]...", "Set what a device is to keep for one command", cobra.ExactArgs(2), a.printDesired,
		func(args []string) (string, string, any, error) {
			values, err := arguments(pairs)
			return http.MethodPut, "/v1/devices/" + url.PathEscape(args[0]) + "/desired/" + url.PathEscape(args[1]), map[string]any{"arguments": values}, err
		})
	cmd.Flags().StringArrayVar(&pairs, "arg", nil, "an argument as name=value, such as on=true")
	return cmd
}

func (a *app) desiredDropCommand() *cobra.Command {
	return a.gridCall("drop FLEET.DEVICE COMMAND", "Want nothing of a device any more for one command", cobra.ExactArgs(2), a.printDesired, func(args []string) (string, string, any, error) {
		return http.MethodDelete, "/v1/devices/" + url.PathEscape(args[0]) + "/desired/" + url.PathEscape(args[1]), nil, nil
	})
}

func (a *app) printCommands(format string, list []json.RawMessage) error {
	if printed, err := printAs(a.Out, format, list); printed {
		return err
	}
	rows := [][]string{{"ID", "STATE", "COMMAND", "ARGUMENTS", "SENDER", "GIVEN", "SENT"}}
	for _, raw := range list {
		var c DeviceCommand
		if err := json.Unmarshal(raw, &c); err != nil {
			return err
		}
		rows = append(rows, []string{
			c.ID, stateOf(c.State, c.Reason), c.Command, dash(inline(c.Arguments)), strings.TrimSpace(c.Sender + " " + c.Organization), clock(c.CreatedAt), strconv.Itoa(c.Sent),
		})
	}
	return table(a.Out, rows)
}

func (a *app) printCommand(format string, raw json.RawMessage) error {
	if printed, err := printAs(a.Out, format, raw); printed {
		return err
	}
	var c DeviceCommand
	if err := json.Unmarshal(raw, &c); err != nil {
		return err
	}
	fmt.Fprintf(a.Out, "%s  %s  %s.%s  %s  %s\n", c.ID, stateOf(c.State, c.Reason), c.Fleet, c.Device, c.Command, inline(c.Arguments))
	fmt.Fprintf(a.Out, "sent %d times, expires %s\n", c.Sent, clock(c.ExpiresAt))
	if c.Detail != "" {
		fmt.Fprintf(a.Out, "device: %s\n", c.Detail)
	}
	var rows [][]string
	for _, h := range c.History {
		who := strings.Trim(strings.Join([]string{h.Actor.Kind, h.Actor.Organization, h.Actor.Role, h.Actor.Person}, " "), " ")
		rows = append(rows, []string{"  " + clock(h.At), h.Action, dash(h.From) + " -> " + h.To, who})
	}
	return table(a.Out, rows)
}

func (a *app) printDesired(format string, raw json.RawMessage) error {
	if printed, err := printAs(a.Out, format, raw); printed {
		return err
	}
	var v struct {
		Device, State, Detail string
		Desired               map[string]struct {
			Arguments            map[string]any
			Organization, Sender string
			Problem              string
			At                   time.Time
		}
	}
	if err := json.Unmarshal(raw, &v); err != nil {
		return err
	}
	fmt.Fprintf(a.Out, "%s  %s  %s\n", v.Device, dash(v.State), v.Detail)
	rows := [][]string{{"COMMAND", "ARGUMENTS", "SET BY", "AT", "PROBLEM"}}
	var names []string
	for name := range v.Desired {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		e := v.Desired[name]
		rows = append(rows, []string{name, dash(inline(e.Arguments)), e.Sender + " " + e.Organization, clock(e.At), dash(e.Problem)})
	}
	return table(a.Out, rows)
}

func stateOf(state, reason string) string {
	if reason == "" {
		return state
	}
	return state + " (" + reason + ")"
}

// inline writes arguments on one line, sorted by name.
func inline(args map[string]any) string {
	if len(args) == 0 {
		return ""
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(args); err != nil {
		return ""
	}
	return strings.TrimSpace(b.String())
}
