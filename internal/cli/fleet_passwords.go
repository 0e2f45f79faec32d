package cli

import (
	"crypto/rand"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/contract/password"
)

func (a *app) passwordsCommand() *cobra.Command {
	var in, outCSV, outSecrets, fleet string
	var rotate, force bool
	cmd := &cobra.Command{
		Use:   "passwords --csv FILE --out-csv FILE --out-secrets FILE",
		Short: "Generate passwords for the devices of an inventory",
		Long: `Generate a password of 128 random bits for each row of an inventory that has no passwordHash, and write the inventory with the
hashes to --out-csv, and device and password to --out-secrets (mode 0600), for the factory. The platform needs the first file
only. With --fleet the second one also has the MQTT user name and client id.`,
		Args: noArgs,
		RunE: func(*cobra.Command, []string) error {
			t, err := readTable(in)
			if err != nil {
				return err
			}
			secrets, err := addPasswords(t, fleet, rotate, rand.Reader)
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
	flags.BoolVar(&force, "force", false, "overwrite a file of passwords that is there")
	for _, name := range []string{"csv", "out-csv", "out-secrets"} {
		_ = cmd.MarkFlagRequired(name)
	}
	return cmd
}

// addPasswords fills in the column passwordHash and gives the passwords that it made.
func addPasswords(t *sheet, fleet string, rotate bool, random io.Reader) (*sheet, error) {
	device, err := t.column("device")
	if err != nil {
		return nil, err
	}
	hash, err := t.column("passwordHash")
	if err != nil {
		hash = len(t.header)
		t.header = append(t.header, "passwordHash")
		for i := range t.rows {
			t.rows[i] = append(t.rows[i], "")
		}
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
		if row[hash] != "" && !rotate {
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
