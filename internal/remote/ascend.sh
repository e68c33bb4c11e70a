# Sent to /bin/sh as an administrator: becomes root by whatever way there is, and runs the
# script in $1 there. A password comes on standard input when it is asked for, and goes to
# sudo on standard input, too.
llmhost_ascend() {
	PATH=/usr/sbin:/usr/bin:/sbin:/bin:/run/wrappers/bin:/run/current-system/sw/bin
	LC_ALL=C
	export PATH LC_ALL
	if [ "$(id -u)" = 0 ]; then
		printf '\nLLMHOST/1 admin root\n'
		exec /bin/sh -c "$1"
	fi
	if ! command -v sudo >/dev/null 2>&1; then
		printf '\nLLMHOST/1 error no-sudo\n'
		exit 1
	fi
	if sudo -n /bin/sh -c : </dev/null >/dev/null 2>&1; then
		printf '\nLLMHOST/1 admin sudo\n'
		exec sudo -n /bin/sh -c "$1"
	fi
	printf '\nLLMHOST/1 password\n'
	IFS= read -r password
	# First on its own: a sudo that asks again would take the next lines for passwords.
	if ! printf '%s\n' "$password" | sudo -S -k -p '' /bin/sh -c : >/dev/null; then
		printf '\nLLMHOST/1 error sudo\n'
		exit 1
	fi
	printf '\nLLMHOST/1 admin sudo\n'
	{
		printf '%s\n' "$password"
		exec cat
	} | sudo -S -k -p '' /bin/sh -c "$1"
	exit
}
