package cli

import (
	"crypto/rand"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/contract/password"
)

func (a *app) passwordsCommand() *cobra.Command {
	var in, outCSV, outSecrets, fleet string
	var rotate, force bool
	var overlap time.Duration
	cmd := &cobra.Command{
		Use:   "passwords --csv FILE --out-csv FILE --out-secrets FILE",
		Short: "Generate passwords for the devices of an inventory",
		Long: `Generate a password of 128 random bits for each row of an inventory that has no passwordHash, and write the inventory with the
hashes to --out-csv, and device and password to --out-secrets (mode 0600), for the factory. The platform needs the first file
only. With --fleet the second one also has the MQTT user name and client id.

With --rotate every row gets a new password. The hash that it had moves to the column previousPasswordHash, and previousUntil says until
when it is taken beside the new one (now and --overlap): time for the factory's devices to learn theirs. A hash that was still
in previousPasswordHash ends with that: a device has two passwords at most.`,
		Args: noArgs,
		RunE: func(*cobra.Command, []string) error {
			if overlap < 0 || overlap > 0 && overlap < time.Second {
				return usage("--overlap %s: write a positive duration such as 720h, or 0 to end the old passwords at once", overlap)
			}
			t, err := readTable(in)
			if err != nil {
				return err
			}
			var until time.Time
			if overlap > 0 {
				until = a.now().Add(overlap)
			}
			secrets, err := addPasswords(t, fleet, rotation{rotate, until}, rand.Reader)
			if err != nil {
				return err
			}
			plain, err := secrets.encode()
			if err != nil {
				return err
			}
			hashes, err := t.encode()
			if err != nil {
				return err
			}
			// The passwords first: a hash whose password is lost opens nothing.
			if err := writeFile(outSecrets, plain, force); err != nil {
				return err
			}
			if err := os.WriteFile(outCSV, hashes, 0o644); err != nil {
				return err
			}
			fmt.Fprintf(a.Err, "%d passwords generated, %d rows had one\n", len(secrets.rows), len(t.rows)-len(secrets.rows))
			return nil
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&in, "csv", "", "inventory with a column device")
	flags.StringVar(&outCSV, "out-csv", "", "inventory with the column passwordHash, for the platform")
	flags.StringVar(&outSecrets, "out-secrets", "", "passwords, for the factory")
	flags.StringVar(&fleet, "fleet", "", "DeviceFleet, for user names")
	flags.BoolVar(&rotate, "rotate", false, "make new passwords for rows that have a hash too")
	flags.DurationVar(&overlap, "overlap", 720*time.Hour, "with --rotate, how long the old password is taken beside the new one")
	flags.BoolVar(&force, "force", false, "overwrite a file of passwords that is there")
	for _, name := range []string{"csv", "out-csv", "out-secrets"} {
		_ = cmd.MarkFlagRequired(name)
	}
	return cmd
}

// rotation says what becomes of a hash that is there.
type rotation struct {
	// all rows get a new password, not only those without.
	all bool
	// until is when the old hash ends; zero is at once.
	until time.Time
}

// add gives the index of a column, which is made if it is not there.
func (s *sheet) add(name string) int {
	if i, err := s.column(name); err == nil {
		return i
	}
	s.header = append(s.header, name)
	for i := range s.rows {
		s.rows[i] = append(s.rows[i], "")
	}
	return len(s.header) - 1
}

// addPasswords fills in the column passwordHash, moves what a rotation replaces, and gives the passwords that it made.
func addPasswords(t *sheet, fleet string, rotate rotation, random io.Reader) (*sheet, error) {
	device, err := t.column("device")
	if err != nil {
		return nil, err
	}
	hash := t.add("passwordHash")
	if rotate.all {
		rotate.move(t, hash)
	}
	client, noClient := t.column("clientID")
	secrets := &sheet{header: []string{"device", "password"}}
	if fleet != "" {
		secrets.header = append(secrets.header, "username", "clientID")
	}
	for i, row := range t.rows {
		if !contract.ValidDevice(row[device]) {
			return nil, fmt.Errorf("%s: row %d: device: want 1 to 64 letters, digits, _ or -", t.path, i+1)
		}
		if row[hash] != "" {
			continue
		}
		plain, err := password.Generate(random)
		if err != nil {
			return nil, err
		}
		if row[hash], err = password.HashGenerated(plain, random); err != nil {
			return nil, err
		}
		out := []string{row[device], plain}
		if fleet != "" {
			id := contract.ClientID(fleet, row[device])
			if noClient == nil && row[client] != "" {
				id = row[client]
			}
			out = append(out, contract.DeviceID(fleet, row[device]), id)
		}
		secrets.rows = append(secrets.rows, out)
	}
	return secrets, nil
}

// move takes the hashes away, so that new ones are made, and keeps them as the previous ones until the end of the overlap. What was
// previous before is gone; a row that had no hash keeps nothing.
func (r rotation) move(t *sheet, hash int) {
	previous, until := t.add("previousPasswordHash"), t.add("previousUntil")
	for _, row := range t.rows {
		row[previous], row[until] = "", ""
		if row[hash] != "" && !r.until.IsZero() {
			row[previous], row[until] = row[hash], r.until.UTC().Format(time.RFC3339)
		}
		row[hash] = ""
	}
}
