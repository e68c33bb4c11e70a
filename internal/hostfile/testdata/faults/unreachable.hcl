host "unreachable" {
}
