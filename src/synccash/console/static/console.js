// What HTML alone does not do: local times, countdowns, keys and copying. Everything works without it.
'use strict';
(() => {
  const format = new Intl.DateTimeFormat(undefined, {
    year: 'numeric', month: '2-digit', day: '2-digit', hour: '2-digit', minute: '2-digit', second: '2-digit', hour12: false,
  });
  const localise = (root) => {
    for (const time of root.querySelectorAll('time[datetime]:not([data-local])')) {
      const at = new Date(time.dateTime);
      if (isNaN(at)) continue;
      const part = Object.fromEntries(format.formatToParts(at).map((one) => [one.type, one.value]));
      time.textContent = `${part.year}-${part.month}-${part.day} ${part.hour}:${part.minute}:${part.second}`;
      time.dataset.local = '';
    }
  };
  const count = () => {
    for (const one of document.querySelectorAll('[data-countdown]')) {
      const left = Math.max(0, Number(one.dataset.countdown) - 1);
      one.dataset.countdown = left;
      one.textContent = left > 0 ? `${left} s` : 'now';
    }
  };
  localise(document);
  // The server's own number is the first one shown; each next second is counted here.
  setInterval(count, 1000);
  new MutationObserver((changes) => {
    if (changes.some((change) => change.addedNodes.length)) localise(document);
  }).observe(document.body, { childList: true, subtree: true });

  document.addEventListener('keydown', (event) => {
    const find = document.getElementById('find');
    const isTyping = /^(INPUT|TEXTAREA|SELECT)$/.test(document.activeElement?.tagName ?? '');
    const isShortcut = (event.key === '/' && !isTyping) || (event.key === 'k' && (event.ctrlKey || event.metaKey));
    if (find && isShortcut) {
      event.preventDefault();
      find.focus();
      find.select();
    }
    if (event.key === 'Escape') {
      document.getElementById('found')?.replaceChildren();
      document.querySelectorAll('details.me[open]').forEach((one) => one.removeAttribute('open'));
    }
    if (event.key === 'ArrowDown' && document.activeElement === find) {
      document.querySelector('#found a')?.focus();
      event.preventDefault();
    }
  });
  document.addEventListener('click', async (event) => {
    const button = event.target.closest?.('[data-copy]');
    if (!button) return;
    await navigator.clipboard?.writeText(button.dataset.copy);
    const before = button.textContent;
    button.textContent = 'Copied';
    setTimeout(() => { button.textContent = before; }, 1500);
  });
})();
