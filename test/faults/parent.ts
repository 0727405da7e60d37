/**
 * Ends this process when its parent has gone, however that ended: nobody else would.
 *
 * @returns tells the parent that this process is ready
 */
export function stayWithParent(): () => void {
  process.on('disconnect', () => process.exit(1));
  // It went while this process was loading.
  if (!process.connected) process.exit(1);
  // The channel must not keep a process alive that has done its work.
  process.channel?.unref();
  return () => void process.send?.('ready');
}
