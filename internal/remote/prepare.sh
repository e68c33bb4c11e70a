# Runs as root. Prepares a machine for llmhost; every step first looks whether it is done.
# Data comes on standard input, behind a line that says so, since a password that sudo did
# not want may come before it.
PATH=/usr/sbin:/usr/bin:/sbin:/bin:/run/current-system/sw/bin
LC_ALL=C
export PATH LC_ALL
umask 022

say() { printf '\nLLMHOST/1 %s\n' "$*"; }
fail() {
	say "error $*"
	exit 1
}

while IFS= read -r line && [ "$line" != LLMHOST-BEGIN ]; do :; done
IFS= read -r user
IFS= read -r key
rule_text=
while IFS= read -r line && [ "$line" != LLMHOST-END ]; do
	rule_text="$rule_text$line
"
done
IFS= read -r launcher
IFS= read -r size
case $user in "" | [!a-z_]* | *[!a-z0-9_-]*) fail "text the user name is not usable" ;; esac
case $launcher in /*/*) ;; *) fail "text the launcher's path is not usable" ;; esac
case $size in "" | *[!0-9]*) fail "text the launcher's size is not a number" ;; esac

for tool in useradd runuser getent sudo visudo mktemp head cmp install sha256sum; do
	command -v $tool >/dev/null 2>&1 || fail "tool $tool"
done

# The user. "*" is a password that nothing matches; unlike "!" it does not lock out keys.
if id -u "$user" >/dev/null 2>&1; then
	[ "$(id -u "$user")" != 0 ] || fail "text $user is root under another name"
	say "step kept user $user"
else
	output=$(useradd --system --create-home --home-dir "/home/$user" --shell /bin/sh --comment "llmhost deployments" --password '*' "$user" 2>&1) ||
		fail "text the user $user was not made: $output"
	say "step made user $user, without a password"
fi

# Its key, written as the user itself, so that no link in its home can lead root elsewhere.
output=$(printf '%s\n' "$key" | runuser -u "$user" -- /bin/sh -c '
	umask 077
	IFS= read -r key
	cd "$(getent passwd "$(id -u)" | cut -d: -f6)" && mkdir -p .ssh && touch .ssh/authorized_keys || exit 1
	if grep -qxF "restrict $key" .ssh/authorized_keys; then
		echo kept
	else
		[ -z "$(tail -c 1 .ssh/authorized_keys)" ] || echo >>.ssh/authorized_keys
		printf "restrict %s\n" "$key" >>.ssh/authorized_keys && echo made
	fi' 2>&1) || fail "text the key was not written: $output"
say "step $output key of $user in its authorized_keys (commands only: no terminal, no forwarding)"

# The one program that the user may run as root.
folder=${launcher%/*}
install -d -o root -g root -m 0755 "$folder" || fail "text the folder $folder was not made"
new=$(mktemp "$folder/.agent-start.XXXXXX") || fail "text nothing can be written to $folder"
head -c "$size" >"$new"
if cmp -s "$new" "$launcher" && [ "$(stat -c %u:%a "$launcher")" = 0:755 ]; then
	rm -f "$new"
	say "step kept launcher $launcher"
else
	chown root:root "$new" && chmod 0755 "$new" && mv -f "$new" "$launcher" || fail "text the launcher was not written"
	say "step made launcher $launcher"
fi

# The rule. A name with a dot is ignored by sudo, so the file takes effect only after it was
# checked.
rule=/etc/sudoers.d/llmhost
[ "$user" = llmhost ] || rule=/etc/sudoers.d/llmhost-$user
new=/etc/sudoers.d/.llmhost.new
printf %s "$rule_text" >"$new" || fail "text the rule was not written"
chmod 0440 "$new"
if ! output=$(visudo -cf "$new" 2>&1); then
	rm -f "$new"
	fail "text visudo refuses the rule: $output"
fi
if cmp -s "$new" "$rule"; then
	rm -f "$new"
	say "step kept sudo rule $rule"
else
	old=/etc/sudoers.d/.llmhost.old
	rm -f "$old"
	[ ! -e "$rule" ] || ln "$rule" "$old" || fail "text the present rule could not be kept"
	mv -f "$new" "$rule"
	if ! output=$(visudo -c 2>&1); then
		if [ -e "$old" ]; then mv -f "$old" "$rule"; else rm -f "$rule"; fi
		fail "text visudo -c refuses the configuration with the rule, which was taken back: $output"
	fi
	rm -f "$old"
	say "step made sudo rule $rule: $user may run $launcher as root, and nothing else"
fi
runuser -u "$user" -- sudo -n -l "$launcher" >/dev/null 2>&1 ||
	fail "text the rule $rule has no effect: does /etc/sudoers include /etc/sudoers.d?"
say "done"
